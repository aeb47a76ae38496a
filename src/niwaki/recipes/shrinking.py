"""A folder cut from disk to disk by words on a command line, and what to say of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from niwaki.disk import Checkpoint
from niwaki.folders import cut_folder
from niwaki.methods.catalogue import score_from, target_from
from niwaki.recipes.progress import Teller
from niwaki.recipes.reading import parse
from niwaki.units import Plan


def shrink(source: Path, out: Path, target: str, score: str, shard_gb: float, teller: Teller | None = None) -> str:
    """Carry out ``niwaki cut``; the text that tells what became of the folder.

    Raises:
        BadInput: words that cannot be meant, and all that :func:`niwaki.cut_folder` raises.
    """
    teller = teller or Teller()
    goal, worth = target_from(parse(target, "--target")), score_from(score)
    with teller.wait(f"look at {source}"):
        total = len(Checkpoint(source))
    with teller.stage(f"cut {source.name}", total) as tick:
        plan = cut_folder(source, out, goal, score=worth, shard_bytes=max(1, int(shard_gb * 1e9)), tick=tick)
    return told(plan, source, out)


def told(plan: Plan, source: Path, out: Path) -> str:
    """What went, and what the folders weigh."""
    (before, heavy), (after, light) = (_weighed(Checkpoint(folder)) for folder in (source, out))
    lines = [
        f"{source} → {out}",
        f"parameters: {before:,} → {after:,} ({after / before:.1%})",
        f"bytes: {heavy:,} → {light:,}",
    ]
    kinds = Counter((choice.kind, choice.size, choice.kept) for choice in plan.choices.values() if choice.removed)
    lines += [f"{n} × {kind}: {size} → {kept}" for (kind, size, kept), n in kinds.items()]
    return "\n".join(lines)


def _weighed(found: Checkpoint) -> tuple[int, int]:
    """How many numbers there are, and the bytes of their files."""
    files = {entry.file for entry in found.entries.values()}
    return sum(entry.size for entry in found.entries.values()), sum(file.stat().st_size for file in files)


__all__ = ["shrink", "told"]
