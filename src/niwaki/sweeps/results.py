"""From the reports of all trials to one: families over seeds, a JSON file, a table for other programs, and the page."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from niwaki.recipes.checks import plain
from niwaki.recipes.standing import PACKED
from niwaki.replacing import replacing
from niwaki.report import Entry, Report
from niwaki.report import sweep as pages
from niwaki.report.fairness import Start, level, varying
from niwaki.report.schema import DENSE
from niwaki.report.seeds import Family, Seeded, Spread, chosen, training_images, unjudged
from niwaki.sweeps.grid import Trial
from niwaki.sweeps.ledger import TRIAL, TRIALS, Ledger, Outcome, read_json, write_json
from niwaki.sweeps.names import digest, said
from niwaki.sweeps.process import ended
from niwaki.sweeps.schema import Sweep
from niwaki.sweeps.timing import Times
from niwaki.sweeps.trial import VALIDATION

JSON, TABLE, PAGE = "sweep.json", "table.csv", "report.html"
VERSION = 1
_SAME_PLACE = ("system", "machine", "processor", "torch", "niwaki", "gpu", "training threads")


@dataclass(frozen=True)
class Done:
    """A trial that is finished: its report, with the times that were taken at the end, and what judged it for the
    choice of settings, by entry."""

    trial: Trial
    report: Report
    judged: Mapping[str, float]

    @property
    def start(self) -> Start:
        """How it was made, as its own report tells it."""
        return Start(self.report.settings, None if self.report.dense is None else self.report.dense.weights)


def finished(sweep: Sweep, ledger: Ledger, trials: Sequence[Trial]) -> dict[str, Done]:
    """All that are, by name."""
    found = {}
    for trial in trials:
        report = ledger.report(trial)
        if report is not None:
            found[trial.name] = Done(trial, report, _judged(sweep, ledger.folder(trial)))
    return found


def _judged(sweep: Sweep, folder: Path) -> Mapping[str, float]:
    """What the function for the choice said of a trial's networks; nothing, if another was asked for when it ran, or
    the same with other arguments."""
    was = read_json(folder / TRIAL) or {}
    now = {"choose_by": sweep.choose_by, "choose_args": plain(sweep.choose_args)}
    if sweep.choose_by is None or any(was.get(key) != value for key, value in now.items()):
        return {}
    return read_json(folder / VALIDATION) or {}


def timed(done: Mapping[str, Done], times: Times) -> dict[str, Done]:
    """The same with the times."""
    found = {}
    for name, one in done.items():
        own = times.get(name, {})
        entries = [replace(entry, latency=own.get(entry.name, ())) for entry in one.report.entries]
        found[name] = replace(one, report=replace(one.report, entries=entries))
    return found


def families(sweep: Sweep, done: Mapping[str, Done]) -> list[Family]:
    """The networks that differ in their seed alone, together, in the order of the sweep."""
    mixed = {rule: varying(rule, {name: one.start for name, one in done.items()}) for rule in sweep.mixing}
    targets, owns, overs = (
        _words([getattr(one.trial, what) for one in done.values()]) for what in ("target", "own", "over")
    )
    groups: dict[tuple[Any, ...], list[tuple[Done, Entry]]] = {}
    for one in done.values():
        target, own, over = targets[_key(one.trial.target)], owns[_key(one.trial.own)], overs[_key(one.trial.over)]
        apart = {rule: values[one.trial.name] for rule, values in mixed.items()} | ({"recipe": over} if over else {})
        for entry in one.report.entries:
            if entry.name != DENSE:
                groups.setdefault((entry.label, target, own, tuple(apart.items())), []).append((one, entry))
    return [
        Family(method, target, own, [_seeded(*pair) for pair in group], dict(apart))
        for (method, target, own, apart), group in groups.items()
    ]


def outcome(
    sweep: Sweep, trials: Sequence[Trial], done: Mapping[str, Done], failed: Mapping[str, Outcome], times: Times,
    command: str, bases: Mapping[str, str],
) -> pages.Outcome:  # fmt: skip
    """All that the page tells. ``bases``: of each trial the name of its dense network among the times."""
    made, starts = families(sweep, done), {name: one.start for name, one in done.items()}
    name, first = next(iter(done.items()))
    assert first.report.dense is not None
    alike = len({bases[each] for each in done}) == 1  # otherwise no one dense time is that of all rows
    own = times.get(bases[name], {}).get(DENSE, ()) if alike else ()
    dense = replace(first.report.dense, latency=own, widths={}, notes=())
    images = [one.images[0] for family in made for one in family.seeds]
    return pages.Outcome(
        f"{dense.label.removeprefix('Dense ')}, a sweep of {len(trials)} trials",
        datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        command, dense, made, (dense.weights or "unknown")[:12], level(starts, images), len(trials),
        [pages.Failed(name, ended(one.exit), one.said) for name, one in failed.items()],
        sweep.mixing, sweep.choose_by, _remarks(sweep, done), _settings(sweep),
        {key: value for key, value in first.report.environment.items() if key != "seed"},
    )  # fmt: skip


def write(
    out: Path, sweep: Sweep, trials: Sequence[Trial], done: Mapping[str, Done], failed: Mapping[str, Outcome],
    told: pages.Outcome | None,
) -> Path | None:  # fmt: skip
    """Write all three files and give the path of the page. Where no trial is finished there is one file alone: page and
    table of an earlier sweep would tell of trials that are not asked for any more."""
    rows = [] if told is None else _rows(told)
    best = set() if told is None else chosen(told.families)
    write_json(out / JSON, {
        "version": VERSION,
        "command": "" if told is None else told.command,
        "created": "" if told is None else told.created,
        "level": None if told is None else told.level,
        "mixing": dict(sweep.mixing),
        "chosen_by": sweep.choose_by,
        "chosen_args": plain(sweep.choose_args),
        "not_judged": [] if told is None or sweep.choose_by is None else unjudged(told.families),
        "settings": plain(_settings(sweep)),
        "environment": {} if told is None else plain(told.environment),
        "dense": None if told is None else told.dense.to_json(),
        "trials": [_trial(trial, done.get(trial.name), failed.get(trial.name)) for trial in trials],
        "families": [{**row, "chosen": i in best} for i, row in enumerate(rows)],
    })  # fmt: skip
    if told is None:
        for name in (TABLE, PAGE):
            (out / name).unlink(missing_ok=True)
        return None
    _write_table(out / TABLE, [{**row, "chosen": i in best} for i, row in enumerate(rows)])
    return pages.save(told, out / PAGE)


def _key(value: Any) -> str:
    return digest(plain(value))


def _words(values: Sequence[Any]) -> dict[str, str]:
    """By digest, values as people read them; in full where two that differ would read alike."""
    each = {_key(value): value for value in values}
    short = {key: said("", value).strip() for key, value in each.items()}
    often = Counter(short.values())
    return {
        key: text if often[text] == 1 else json.dumps(plain(each[key]), ensure_ascii=False)
        for key, text in short.items()
    }


def _seeded(one: Done, entry: Entry) -> Seeded:
    name = one.trial.name
    run = name if len(one.report.entries) == 2 else f"{name}, {entry.name}"
    images, judged = _images(one.report, entry), one.judged.get(entry.name)
    return Seeded(run, f"{TRIALS}/{name}/report.html", one.trial.seed, entry, images, judged)


def _images(report: Report, entry: Entry) -> tuple[int, int]:
    """What is packed has seen what it was packed from has seen."""
    return training_images(report, replace(entry, name=entry.name.removesuffix(PACKED)))


def _remarks(sweep: Sweep, done: Mapping[str, Done]) -> list[str]:
    found = []
    places = {tuple(str(one.report.environment.get(key)) for key in _SAME_PLACE) for one in done.values()}
    if len(places) > 1:
        found.append("The trials ran on different machines, versions or numbers of threads.")
    if len({one.start.weights for one in done.values()}) > 1:
        found.append(f"The dense network in the table, to which all are compared, is that of {next(iter(done))} alone.")
    if len({_key(one.start.settings.get("inputs")) for one in done.values()}) > 1:
        found.append(f"The dense network in the table was measured on the inputs of {next(iter(done))} alone.")
    if sweep.shortened:
        found.append(f"A shorter run, of the recipe's section fast: {'; '.join(map(str, sweep.shortened))}.")
    return found


def _settings(sweep: Sweep) -> dict[str, Any]:
    """What was asked for, but for what each trial's own page tells."""
    methods = {}
    for one in sweep.methods:
        grid = {"over": dict(one.over)} if one.over else {}
        methods[one.label] = {"name": one.name, **one.settings, "targets": list(one.targets), **grid}
    judge = {} if sweep.choose_by is None else {"function": sweep.choose_by, "arguments": dict(sweep.choose_args)}
    told = {
        "methods": methods, "choose_by": judge, "over": dict(sweep.over), "seeds": list(sweep.seeds),
        "dense": dict(sweep.dense), "threads": sweep.threads,
        "recipe": {key: value for key, value in sweep.recipe.items() if key not in ("method", "out", "fast")},
    }  # fmt: skip
    return plain({key: value for key, value in told.items() if value not in ({}, [])})


def _trial(trial: Trial, done: Done | None, failed: Outcome | None) -> dict[str, Any]:
    told = {"name": trial.name, **trial.values, "digest": trial.digest}
    if failed is not None:
        return {**told, "state": "failed", "ended": ended(failed.exit), "seconds": failed.seconds, "said": failed.said}
    if done is None:
        return {**told, "state": "left"}
    entries = []
    for entry in done.report.entries:
        if entry.name != DENSE:
            before, all_ = _images(done.report, entry)
            found = {key: getattr(entry, key) for key in ("name", "label", "accuracy", "macs", "params", "file_bytes")}
            entries.append({
                **found, "peak_bytes": entry.peak_bytes, "activation_bytes": entry.activation_bytes,
                "latency": [one.to_json() for one in entry.latency], "seconds": dict(entry.seconds),
                "certified": None if entry.certificate is None else entry.certificate["holds"],
                "images_before_cut": before, "images": all_, "judged": done.judged.get(entry.name),
            })  # fmt: skip
    return {**told, "state": "finished", "weights": done.start.weights, "networks": entries}


def _rows(told: pages.Outcome) -> list[dict[str, Any]]:
    """One flat row for each family."""
    return [_row(family, told.means.entries[i + 1]) for i, family in enumerate(told.families)]


def _row(family: Family, entry: Entry) -> dict[str, Any]:
    certificate = entry.certificate
    return {
        "method": family.method, "target": family.target, "setting": family.own,
        **{f"mixed {rule}": text for rule, text in family.mixed.items()},
        "seeds": len(family.seeds), **_both("accuracy", family.accuracy), **_both("judged", family.judged),
        "macs": entry.macs, "params": entry.params, "file_bytes": entry.file_bytes,
        **{f"ms {t.runtime}, {t.threads} threads, batch {t.batch}": t.median_ms for t in entry.latency},
        "certified": None if certificate is None else certificate["holds"],
    }  # fmt: skip


def _both(what: str, found: Spread | None) -> dict[str, float | None]:
    mean, std = (None, None) if found is None else (found.mean, found.std)
    return {f"{what}_mean": mean, f"{what}_std": std}


def _write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """As CSV; an empty cell is unknown."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with replacing(path) as part:
        part.write_text(text.getvalue(), encoding="utf-8")


__all__ = ["JSON", "PAGE", "TABLE", "Done", "families", "finished", "outcome", "timed", "write"]
