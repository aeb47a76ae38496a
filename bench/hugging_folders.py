"""Which unevenly cut models of transformers does ``from_pretrained`` load?

    python bench/hugging_folders.py [--only NAME ...] [--resume]

Over the table of families, in their tiny sizes: units at random go from all groups at once, so that layers end up with
different sizes. ``nk.save`` writes a folder, ``from_pretrained`` of the same class reads it, ``save_pretrained`` writes
it again, and that is read too. All must answer as the cut model in memory does, bit for bit. Groups are proven by a dry
run only where a cut without proof cannot run. Every row goes to a journal among the temporary files, so that a run that
was stopped goes on with ``--resume``.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import tempfile
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from forked import told
from ledger import keep
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from torch import nn

import niwaki as nk
from niwaki.testing.families import Family, families, family
from niwaki.testing.laws import LawBroken, folder_loads, uneven_plan
from niwaki.testing.laws.folders import refusal
from niwaki.testing.laws.folders import told as said
from niwaki.testing.laws.sameness import answers

LOADS, REFUSED, ORDINARY, DIFFERS, FAILS = "loads", "refused", "ordinary folder", "differs", "fails"
RATIO = 0.4
JOURNAL = Path(tempfile.gettempdir()) / "niwaki-hugging-folders.jsonl"
SETTINGS: dict[str, dict[str, Any]] = {"mixtral_loop": {"experts_implementation": "eager"}}
"""What no config keeps: how experts are multiplied."""


def row(each: Family) -> dict[str, Any]:
    """The row of a family."""
    try:
        verdict, detail = measure(each)
    except Exception as trouble:
        verdict, detail = FAILS, told(trouble)
    return {"family": each.name, "tags": sorted(each.tags), "verdict": verdict, "detail": detail}


def measure(each: Family) -> tuple[str, str]:
    """What becomes of one family, and why."""
    small, inputs = _cut(each)
    with tempfile.TemporaryDirectory() as place:
        first = Path(place) / "first"
        try:
            folder_loads(small, inputs, place, **SETTINGS.get(each.name, {}))
        except LawBroken as trouble:
            broken = FAILS if " failed: " in str(trouble) else DIFFERS
            return (REFUSED, refusal(first)) if refusal(first) else (broken, str(trouble)[:300])
        return (LOADS if said(first) else ORDINARY), ""


def _cut(each: Family) -> tuple[nn.Module, Any]:
    inputs = each.inputs()
    for prove in (False, True):
        model = each.build()
        small = nk.cut(model, uneven_plan(nk.trace(model, inputs, prove=prove), RATIO), config=False)
        try:
            answers(small, inputs)
        except Exception:
            if prove:
                raise RuntimeError("the cut model itself does not run") from None
            continue
        break
    return small, inputs


def markdown(found: dict[str, Any]) -> str:
    """A table for docs/transformers.md, from the kept result."""
    rows = found["raw"]["rows"]
    lines = ["| families | from_pretrained gives the same, bit for bit |", "|---|---|"]
    for label, tag in SORTS.items():
        here = [r for r in rows if tag in r["tags"]]
        lines.append(f"| {label} | {sum(r['verdict'] in (LOADS, ORDINARY) for r in here)} of {len(here)} |")
    left = [f"`{r['family']}` {r['verdict']}: {r['detail']}" for r in rows if r["verdict"] not in (LOADS, ORDINARY)]
    return "\n".join([*lines, "", *([f"Not: {'; '.join(left)}."] if left else ["All load."])])


SORTS = {
    "text decoders": "decoder",
    "encoders": "encoder",
    "encoder and decoder": "encoder_decoder",
    "vision": "vision",
    "mixtures of experts": "moe",
    "all": "needs_transformers",
}
"""Some families are of several sorts and count in each."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these families; the result is printed and not kept")
    parser.add_argument("--resume", action="store_true", help="go on where a run was stopped")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    import transformers

    transformers.utils.logging.disable_progress_bar()
    rows: list[dict[str, Any]] = _read() if args.resume and not args.only else []
    bar = Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with bar, Path(os.devnull if args.only else JOURNAL).open("w") as journal:
        chosen = [family(name) for name in args.only] if args.only else list(families("needs_transformers"))
        done = {found["family"] for found in rows}
        task = bar.add_task("", total=len(chosen), completed=len(done))
        journal.writelines(json.dumps(found) + "\n" for found in rows)
        for each in (each for each in chosen if each.name not in done):
            bar.update(task, description=f"{each.name:20}")
            rows.append(row(each))
            print(json.dumps(rows[-1]), file=journal, flush=True)
            bar.advance(task)
    shown = Table("family", "verdict", "why", title="Unevenly cut, and read by from_pretrained")
    for found in rows:
        shown.add_row(found["family"], found["verdict"], found["detail"])
    Console(width=160).print(shown)
    if args.only:
        return
    counts = dict(Counter(found["verdict"] for found in rows).most_common())
    settings = {"ratio": RATIO, "seed": 0, "scope": "global", "size": "tiny", "transformers": transformers.__version__}
    keep("hugging_folders", {"families": len(rows), "verdicts": counts}, {"settings": settings, "rows": rows})


def _read() -> list[dict[str, Any]]:
    return [json.loads(line) for line in JOURNAL.read_text().splitlines()] if JOURNAL.exists() else []


if __name__ == "__main__":
    main()
