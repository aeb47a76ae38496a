"""Which architectures can be cut, how much of them, and does the cut model compute the same?

    python bench/families.py [--only NAME ...] [--no-peer] [--seeds 2] [--resume]

Over the whole table of families, in their tiny sizes: does the cut equal the masked model at 10%, 30% and 60%, how much
of parameters and multiply-adds can be reached, which kinds of units are found, what does a trace cost. Beside it the
same for Torch-Pruning 1.6.1 (``bench/peer.py`` lists its settings). Each family runs in a child of its own, forked from
a parent that has traced another model before. Memory is the kernel's high-water mark of resident memory in that child
over what was resident before its first trace.

Every row goes to a journal among the temporary files, so that a run that was stopped goes on with ``--resume``.

Niwaki's plans are drawn at random, each is held forward and gradient to 1e-5 in single precision (or, where that fails,
to 1e-10 with everything in double: then it was rounding, and the row says so), and the trace proves its groups; the
peer removes by magnitude, is held forward to 1e-4, and has 60 s. Both pass only if they pass at every ratio.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import peer
import torch
import torch.utils._pytree
from forked import CRASH, DONE, HANG, Memory, in_child, told
from ledger import keep
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

import niwaki as nk
from niwaki.errors import NothingToPrune, UntraceableModel
from niwaki.graph import Graph
from niwaki.testing.families import FAMILIES, Family, family
from niwaki.testing.laws import LawBroken, cut_equals_masked

RATIOS = (0.1, 0.3, 0.6)
HOLDS, DIFFERS, FAILS, BLOCKED = "holds", "differs", "fails", "blocked"
OURS_LIMIT, PEER_LIMIT = 300, 60
DOUBLE = 1e-10
"""Tolerance in double precision, which is asked where single precision does not settle it."""
WARM = "dlrm"
JOURNAL = Path(tempfile.gettempdir()) / "niwaki-families.jsonl"


def ours(each: Family, seeds: Sequence[int]) -> Iterator[dict[str, Any]]:
    """What niwaki does with a family: cost and reach of its trace, then the law."""
    warnings.simplefilter("ignore")
    expected = sorted(each.kinds)
    yield {"expected": expected, "found": []}
    memory = Memory()
    try:
        first, graph = _traced(each)
    except NothingToPrune as trouble:
        yield {"verdict": BLOCKED, "detail": told(trouble)}
        return
    except UntraceableModel as trouble:
        yield {"verdict": FAILS, "detail": told(trouble)}
        return
    peak = memory.growth()
    seconds = [first, *(_traced(each)[0] for _ in range(2))]
    found = sorted({group.kind for group in graph.groups})
    yield {
        "trace_s": statistics.median(seconds),
        "memory_mib": peak,
        "groups": len(graph.groups),
        "units": sum(map(len, graph.groups)),
        "reach_params": graph.coverage.params,
        "reach_macs": graph.coverage.macs,
        "found": found,
        "missing": [kind for kind in expected if kind not in found],
    }
    yield _held(each, seeds, graph)


def _traced(each: Family) -> tuple[float, Graph]:
    model, inputs = each.build(), each.inputs()
    start = time.perf_counter()
    graph = nk.trace(model, inputs)
    return time.perf_counter() - start, graph


def _held(each: Family, seeds: Sequence[int], graph: Graph) -> dict[str, Any]:
    """The law: random legal cuts answer as zeros in place of what went do, forward and gradient."""
    start = time.perf_counter()
    verdict, detail, precision = HOLDS, "", "float32"
    try:
        cut_equals_masked(graph.model, each.inputs(), RATIOS, seeds, graph=graph)
    except LawBroken as trouble:
        verdict, detail = FAILS if " failed: " in str(trouble) else DIFFERS, str(trouble)[-300:]
        if verdict == DIFFERS and _held_in_double(each, seeds):
            verdict, precision = HOLDS, "float64"
    return {"verdict": verdict, "detail": detail, "precision": precision, "law_s": time.perf_counter() - start}


def _held_in_double(each: Family, seeds: Sequence[int]) -> bool:
    """Is a difference rounding alone? In double precision, also where a module asks for single, it is then gone."""
    torch.Tensor.float = torch.Tensor.double  # type: ignore[method-assign]  # this process is a child's, and ends here
    model = each.build().double()
    inputs = torch.utils._pytree.tree_map_only(
        torch.Tensor, lambda t: t.double() if t.is_floating_point() else t, each.inputs()
    )
    try:
        cut_equals_masked(model, inputs, RATIOS, seeds, graph=nk.trace(model, inputs), tolerance=DOUBLE)
    except (LawBroken, UntraceableModel, NothingToPrune):
        return False
    return True


def theirs(each: Family) -> Iterator[dict[str, Any]]:
    """What the peer does with a family. The graph serves the oracle alone."""
    try:
        graph = nk.trace(each.build(), each.inputs(), prove=False)
    except Exception:
        graph = None
    yield from peer.measure(each, RATIOS, graph)


def measure(each: Family, seeds: Sequence[int], with_peer: bool) -> dict[str, Any]:
    """Both rows of one family."""
    mine = in_child(ours, each, seeds, seconds=OURS_LIMIT)
    if mine["status"] != DONE:
        mine |= {"verdict": FAILS, "detail": mine["trouble"]}
    row: dict[str, Any] = {"family": each.name, "tags": sorted(each.tags), "niwaki": mine}
    if with_peer:
        row["peer"] = _concluded(in_child(theirs, each, seconds=PEER_LIMIT), mine)
    return row


def _concluded(found: dict[str, Any], mine: dict[str, Any]) -> dict[str, Any]:
    """The peer's row: the worst of its cuts, and what it left that niwaki reaches."""
    cuts = found.get("cuts", [])
    if found["status"] != DONE:
        stage = "the trace" if "trace_s" not in found else f"the cut number {len(cuts) + 1}"
        return {**found, "verdict": found["status"], "detail": f"in {stage}: {found['trouble']}"}
    worst = min(cuts, key=lambda cut: peer.WORST_FIRST.index(cut["verdict"]))
    for share in ("reach_params", "reach_macs"):
        reached = [cut[share] for cut in cuts if share in cut]
        found[share] = max(reached) if reached else None
        if reached and mine.get(share) is not None:
            found[f"left_{share.removeprefix('reach_')}"] = max(0.0, mine[share] - found[share])
    return {**found, "verdict": worst["verdict"], "detail": worst.get("detail", ""), "worst": worst.get("worst")}


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The table in a few numbers."""
    found: dict[str, Any] = {"families": len(rows)}
    for who in ("niwaki", "peer"):
        here = [row[who] for row in rows if who in row]
        if not here:
            continue
        found[who] = {
            "verdicts": dict(Counter(row["verdict"] for row in here).most_common()),
            "trace_s_median": _middle(here, "trace_s"),
            "memory_mib_median": _middle(here, "memory_mib"),
            "reach_params_median": _middle(here, "reach_params"),
            "reach_macs_median": _middle(here, "reach_macs"),
        }
    found["niwaki"]["all_expected_kinds"] = sum(row["niwaki"].get("missing") == [] for row in rows)
    if "peer" in found:
        kinds = {"transformers": "attention", "convolutional": "cnn"}
        for name, tag in kinds.items():
            here = [
                row for row in rows if tag in row["tags"] and (tag == "attention" or "attention" not in row["tags"])
            ]
            found[f"peer_on_{name}"] = dict(Counter(row["peer"]["verdict"] for row in here).most_common())
            found[f"niwaki_on_{name}"] = dict(Counter(row["niwaki"]["verdict"] for row in here).most_common())
    return found


def _middle(rows: Sequence[dict[str, Any]], key: str) -> float | None:
    values = [row[key] for row in rows if row.get(key) is not None]
    return round(statistics.median(values), 4) if values else None


COLOURS = {HOLDS: "green", peer.EQUAL: "green", DIFFERS: "red", peer.WRONG: "red", FAILS: "red", CRASH: "red"}
COLOURS |= {HANG: "red", BLOCKED: "yellow", peer.UNKNOWN: "yellow", peer.NOTHING: "yellow"}
COLUMNS = ("", "reach, %", "MACs, %", "s", "MiB", "groups")


def table(rows: Sequence[dict[str, Any]]) -> Table:
    """All families, a row each."""
    shown = Table(title="Families, tiny: niwaki, and Torch-Pruning 1.6.1")
    shown.add_column("family")
    for who in ("niwaki", "peer"):
        if any(who in row for row in rows):
            for column in COLUMNS:
                shown.add_column(column or who, justify="left" if not column else "right")
    shown.add_column("kinds missing")
    for row in rows:
        cells = [cell for who in ("niwaki", "peer") if who in row for cell in _cells(row[who])]
        shown.add_row(row["family"], *cells, " ".join(row["niwaki"].get("missing", row["niwaki"].get("expected", []))))
    return shown


def _cells(row: dict[str, Any]) -> list[str]:
    verdict = row["verdict"]
    shares = [_percent(row.get(key)) for key in ("reach_params", "reach_macs")]
    return [
        f"[{COLOURS[verdict]}]{verdict}[/]",
        *shares,
        *(_number(row.get(k)) for k in ("trace_s", "memory_mib", "groups")),
    ]


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f}"


def _number(value: float | None) -> str:
    if value is None or isinstance(value, int):
        return "–" if value is None else str(value)
    return f"{value:.2g}" if value < 10 else f"{value:.0f}"


def markdown(found: dict[str, Any]) -> str:
    """A compact table for README.md, from the kept result: by kind of network, how both fare."""
    lines = ["| networks | niwaki: cut = masked | Torch-Pruning 1.6.1 | niwaki reaches | Torch-Pruning reaches |"]
    lines.append("|---|---|---|---|---|")
    lines += [line for label, tags in SORTS if (line := _line(label, _of(found["raw"]["rows"], tags)))]
    names = ", ".join(f"{row['family']}" for row in found["raw"]["rows"] if row["niwaki"]["verdict"] != HOLDS)
    return "\n".join([*lines, "", f"Not whole yet: {names}." if names else "All hold."])


SORTS = (
    ("convolutional", "cnn"),
    ("text decoders", "decoder"),
    ("text encoders", "encoder text"),
    ("encoder and decoder", "encoder_decoder"),
    ("vision transformers", "attention vision encoder"),
    ("mixtures of experts", "moe"),
    ("state spaces, recurrent", "state_space|recurrent"),
    ("all", ""),
)
"""Some networks are of several sorts and count in each."""


def _of(rows: Sequence[dict[str, Any]], tags: str) -> list[dict[str, Any]]:
    return [row for row in rows if any(set(choice.split()) <= set(row["tags"]) for choice in tags.split("|"))]


def _line(label: str, rows: Sequence[dict[str, Any]]) -> str:
    if not rows:
        return ""
    mine = [row["niwaki"] for row in rows]
    held = f"{sum(row['verdict'] == HOLDS for row in mine)} of {len(rows)}"
    cells = [label, held, "not run", _share(mine), ""]
    if "peer" in rows[0]:
        other = [row["peer"] for row in rows]
        counts = Counter(row["verdict"] for row in other).most_common()
        cells[2:] = [", ".join(f"{n} {verdict}" for verdict, n in counts), _share(mine), _share(other)]
    return f"| {' | '.join(cells)} |"


def _share(rows: Sequence[dict[str, Any]]) -> str:
    """The middle share of parameters reached by cuts that are right."""
    good = [row.get("reach_params") or 0.0 if row["verdict"] in (HOLDS, peer.EQUAL) else 0.0 for row in rows]
    return f"{statistics.median(good):.0%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these families; the result is printed and not kept")
    parser.add_argument("--peer", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--resume", action="store_true", help="go on where a run was stopped")
    parser.add_argument("--seeds", type=int, default=2, help="random plans at each ratio")
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("niwaki").setLevel(logging.ERROR)  # configs that cannot follow are told elsewhere
    if args.peer:
        peer.require()
        import torch_pruning  # noqa: F401  the children find it imported
    warnings.simplefilter("ignore")
    warm = family(WARM)
    nk.trace(warm.build(), warm.inputs())
    rows = _read() if args.resume and not args.only else []
    bar = Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with bar, Path(os.devnull if args.only else JOURNAL).open("w") as journal:
        chosen = [family(name) for name in args.only] if args.only else list(FAMILIES)
        done = {row["family"] for row in rows}
        task = bar.add_task("", total=len(chosen), completed=len(done))
        journal.writelines(json.dumps(row) + "\n" for row in rows)
        for each in (each for each in chosen if each.name not in done):
            bar.update(task, description=f"{each.name:20}")
            rows.append(measure(each, tuple(range(args.seeds)), args.peer))
            print(json.dumps(rows[-1]), file=journal, flush=True)
            bar.advance(task)
    order = [each.name for each in FAMILIES]
    rows.sort(key=lambda row: order.index(row["family"]))
    Console(width=160).print(table(rows))
    if args.only:
        print(json.dumps(rows, indent=1))
        return
    keep("families", summary(rows), {"settings": _settings(args.seeds, args.peer), "rows": rows})


def _read() -> list[dict[str, Any]]:
    return [json.loads(line) for line in JOURNAL.read_text().splitlines()] if JOURNAL.exists() else []


def _settings(seeds: int, with_peer: bool) -> dict[str, Any]:
    shared = {"ratios": RATIOS, "size": "tiny", "memory": "VmHWM over VmRSS in a forked child, first trace"}
    mine = {"seeds": seeds, "tolerance": 1e-5, "held": "forward and gradient", "limit_s": OURS_LIMIT}
    found: dict[str, Any] = {**shared, "niwaki": mine}
    if with_peer:
        found["peer"] = {
            "name": f"{peer.NAME} {peer.VERSION}",
            "tolerance": peer.TOLERANCE,
            "held": "forward",
            "limit_s": PEER_LIMIT,
            "given": peer.__doc__,
        }
    return found


if __name__ == "__main__":
    main()
