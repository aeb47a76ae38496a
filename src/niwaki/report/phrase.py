"""Numbers as people read them, and the one sentence at the top of the page."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from . import compare
from .patterns import Patterns, Run
from .schema import ACCURACY, Entry, Parting, Report

__all__ = [
    "beside",
    "bytes_",
    "change",
    "clip",
    "concentrated",
    "count",
    "headline",
    "leading",
    "listing",
    "milliseconds",
    "outweighing",
    "percent",
    "reached",
    "short",
    "sparsity",
    "spreading",
    "tidy",
    "times",
]

_NB = "\N{NO-BREAK SPACE}"  # a number and its unit stay on one line


def percent(accuracy: float, digits: int = 1) -> str:
    """0.908 → "90.8%"."""
    return f"{100 * accuracy:.{digits}f}%"


def reached(entry: Entry, digits: int = 1) -> str:
    """ "90.8%" of accuracy, "88.1% F1" of another measure; nothing where none was taken."""
    if entry.accuracy is None:
        return ""
    return percent(entry.accuracy, digits) + ("" if entry.measure == ACCURACY else f" {entry.measure}")


def leading(text: str) -> str:
    """ "accuracy" → "Accuracy": as a sentence or a title begins."""
    return text[:1].upper() + text[1:]


def change(points: float, digits: int = 1) -> str:
    """-0.3 → "−0.3", 0 → "±0.0": percentage points with a real minus sign."""
    text = f"{abs(points):.{digits}f}"
    if not float(text):
        return f"±{text}"
    return f"{'−' if points < 0 else '+'}{text}"


def times(ratio: float, digits: int = 2) -> str:
    """0.333 → "0.33×"; what would round to zero keeps one significant digit."""
    text = f"{ratio:.{digits}f}"
    return f"{text if float(text) or not ratio else f'{ratio:.1g}'}×"


def count(number: int) -> str:
    """1_819_066_368 → "1.82 G": three significant digits."""
    return _scaled(number, ("", "k", "M", "G", "T", "P"))


def short(number: int) -> str:
    """1_500 → "1.5 k": as `count`, without the zeros that a tick of an axis does not need."""
    return tidy(count(number))


def tidy(text: str) -> str:
    """ "1.50 kB" → "1.5 kB": a number and its unit without zeros at the end of the number."""
    value, space, unit = text.partition(_NB)
    return f"{value.rstrip('0').rstrip('.') if '.' in value else value}{space}{unit}"


def bytes_(number: int) -> str:
    """44_700_000 → "44.7 MB" (a MB is a million bytes)."""
    return _scaled(number, ("B", "kB", "MB", "GB", "TB", "PB"))


def milliseconds(time: float) -> str:
    """12.345 → "12.3 ms"."""
    return f"{_three(time) if time >= 0.001 else f'{time:.2g}'}{_NB}ms"


def clip(text: str, limit: int) -> str:
    """Text for a drawing: without control characters, and cut in the middle where it is too long."""
    clean = "".join(char if char.isprintable() or char == _NB else "\N{REPLACEMENT CHARACTER}" for char in text)
    if len(clean) <= limit:
        return clean
    head = (limit - 1) // 2
    return f"{clean[:head]}…{clean[len(clean) - (limit - 1 - head) :]}"


def listing(parts: list[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)


def headline(report: Report) -> str:
    """What happened, in one sentence, computed from the entries alone."""
    entry = compare.best(report)
    if entry is None:
        return _alone(report)
    body = _size(report, entry) + _speed(report, entry)
    return f"{entry.label} {body}{_certificates(report, entry)}."


def spreading(parting: Parting) -> str:
    """What the norms of a typical group did while units were pressed: all alike if there was such a phase."""
    alike = parting.picked is not None
    pairs = [_ends(one.spread, one.ratio, alike) for one in parting.groups]
    grown = [last / first for first, last in pairs if first > 0]
    where = " left of the dotted line, where the scale changes," if alike else ","
    pressed = f"Pressed all alike{where}" if alike else "Under the penalty,"
    if not grown:
        return "The norms of a group spread as the penalty tells its units apart."
    return f"{pressed} the norms of a typical group came to spread {_three(median(grown))} times as much."


def _ends(spread: Sequence[float], ratio: Sequence[float | None], alike: bool) -> tuple[float, float]:
    """First and last spread; if all were pressed alike first, those of that phase."""
    known = [value for value, now in zip(spread, ratio, strict=True) if now is None or not alike]
    return (known[0], known[-1]) if known else (0.0, 0.0)


def outweighing(parting: Parting) -> str:
    """How far the kept units of a typical group outweigh the chosen ones at the end, and whether that is far enough."""
    ends = [one.ratio[-1] if one.at_cut is None else one.at_cut for one in parting.groups if one.ratio]
    known = [ratio for ratio in ends if ratio is not None]
    if not known:
        return ""
    typical = median(known)
    often = "more than a million" if typical > 1e6 else f"{typical:,.0f}" if typical >= 1000 else _three(typical)
    said = f"At the end a kept unit of a typical group outweighs a chosen one {often} times"
    if parting.parted is None:
        return f"{said}."
    past = sum(ratio >= parting.parted for ratio in known)
    passed = f"{past or 'none'} of {len(known)} groups {'is' if past in (0, 1) else 'are'} past the dashed line"
    return f"{said}; {passed}, where a group needs no more pressing."


def sparsity(share: float) -> str:
    """0.9 → "90%", 0.9995 → "99.95%": with more digits where the last few weights are at stake."""
    text = f"{100 * share:.{4 if share > 0.99 else 3}g}%"
    return text if text != "100%" or share == 1 else ">99.99%"


def concentrated(patterns: Patterns) -> str:
    """Where the surviving weights are after the last round, in figures."""
    found = patterns.last.together
    said = (
        f"At {sparsity(found.sparsity)} sparsity the counts of rows have a mean Gini coefficient of "
        f"{found.gini_rows:.2f}, those of columns {found.gini_columns:.2f} (of a random mask: "
        f"{found.gini_rows_by_chance:.2f} and {found.gini_columns_by_chance:.2f})"
    )
    if not found.empty_rows and not found.empty_columns:
        return f"{said}; no row and no column is empty."
    rows, columns = percent(found.empty_rows), percent(found.empty_columns)
    return f"{said}; {rows} of the rows and {columns} of the columns are empty."


def beside(runs: Sequence[Run]) -> str:
    """The figures of several runs after their last rounds, in one sentence."""
    ends = [(run.label, run.patterns.last.together) for run in runs]
    reached = list(dict.fromkeys(sparsity(found.sparsity) for _, found in ends))
    start = f"At {reached[0]} sparsity the" if len(reached) == 1 else "The"
    parts = []
    for label, found in ends:
        where = f" at {sparsity(found.sparsity)}" if len(reached) > 1 else ""
        parts.append(f"{found.gini_rows:.2f} and {found.gini_columns:.2f} in {label}{where}")
    return f"{start} surviving weights per row and per column have Gini coefficients of {listing(parts)}."


def _alone(report: Report) -> str:
    if not report.entries:
        return "Nothing has been measured yet."
    entry = report.entries[0]
    known = f"reaches {reached(entry)} with" if entry.accuracy is not None else "takes"
    return f"{entry.label} {known} {count(entry.macs)} MACs; nothing has been pruned yet."


def _size(report: Report, entry: Entry) -> str:
    moved, share = compare.points(report, entry), compare.share(report, entry, "macs")
    cost = f"{times(share)} the MACs" if share is not None else f"{count(entry.macs)} MACs"
    if entry.accuracy is None:
        return f"takes {cost}"
    if moved is None:
        return f"reaches {reached(entry)} at {cost}"
    return f"keeps {reached(entry)} ({change(moved)} points) at {cost}"


def _speed(report: Report, entry: Entry) -> str:
    found = {name: compare.speedup(report, entry, key) for key, name in compare.runtimes(report).items()}
    gains = sorted(((s, name) for name, s in found.items() if s is not None), reverse=True)
    faster = [f"{times(s.ratio, 1)} as fast in {name}" for s, name in gains if s.clear and s.ratio > 1]
    level = [f"{name} ({times(s.ratio)})" for s, name in gains if not s.clear]
    slower = [f"{name} ({times(s.ratio)})" for s, name in gains if s.clear and s.ratio < 1]
    doubts = listing([f"no faster in {listing(level)}"] * bool(level) + [f"slower in {listing(slower)}"] * bool(slower))
    if not faster:
        return f", but runs {doubts}" if doubts else ""
    return f" and runs {listing(faster)}" + (f", but {doubts}" if doubts else "")


def _certificates(report: Report, entry: Entry) -> str:
    said, joint = {
        "holds": ("certificate holds", ", but FAILS for"),
        "fails": ("certificate FAILS", ", also for"),
        "none": ("not certified", "; certificate FAILS for"),
    }[compare.verdict(entry)]
    others = [e.label for e in compare.pruned(report) if e is not entry and compare.verdict(e) == "fails"]
    return f"; {said}" + (f"{joint} {listing(others)}" if others else "")


def _scaled(number: float, units: tuple[str, ...]) -> str:
    for unit in units[:-1]:
        # 999.5 would print as "1000": it belongs to the next unit.
        if number < 999.5:
            return f"{number if unit == units[0] else _three(number)}{_NB}{unit}".rstrip(_NB)
        number /= 1000
    return f"{_three(number)}{_NB}{units[-1]}"


def _three(number: float) -> str:
    digits = next((d for d, top in ((3, 0.9995), (2, 9.995), (1, 99.95)) if number < top), 0)
    return f"{number:.{digits}f}"
