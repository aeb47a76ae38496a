"""The state of a run as a file beside a trainer's own checkpoint."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from niwaki.errors import BadInput, BrokenFile, CannotWrite, Damaged, NotSaved
from niwaki.ranks import Ranks, digest, fully_sharded
from niwaki.sealing import require_whole, seal, unseal
from niwaki.train.differing import sample
from niwaki.train.engine import Pruning

FILE = "niwaki_pruning.pt"
"""In every checkpoint's folder: the state of the run, tensors and plain data, and how large the files beside it are."""
VERSION = 1
_CHECKPOINTS = ("checkpoint-", "checkpoint_")
_OF_RANK = r"rng_state_\d+\.pth"  # of which each rank writes its own, when it gets there


def write(run: Pruning, folder: Path, beside: Mapping[str, int] | None = None) -> None:
    """Write it, whole or not at all; called by all ranks. If that cannot be, training goes on, with a warning: the
    checkpoint has no state then, and those before it have theirs.

    What all ranks have alike the first one writes. Of a sharded model, and of a method that draws data, each has its
    own, and writes it, to the same folder.

    Args:
        beside: files of the trainer's and their bytes (-1: any number but 0); None: all that are there now.
    """
    state, ranks = run.whole_state(), run.ranks
    size = ranks.size if fully_sharded(run.model) or state["drawn"] else 1
    if ranks.rank >= size:
        return
    beside = _sizes(folder) if beside is None else dict(beside)
    sealed = {"version": VERSION, "run": state, "ranks": size, "beside": beside if ranks.rank == 0 else {}}
    sealed["weights"] = _mark(run.model)
    try:
        seal(sealed, folder / _name(ranks.rank, size))
    except CannotWrite as trouble:
        told = f"{folder} is a checkpoint without the state of the run, and cannot be gone on from. {trouble}"
        warnings.warn(told, NotSaved, stacklevel=2)


def read(folder: Path, ranks: Ranks, model: nn.Module | None = None) -> dict[str, Any]:
    """What was written, by this rank if each has its own. Nothing in it can run code.

    Args:
        model: with the weights of the same checkpoint, to be compared with those beside which the state was written.

    Raises:
        BadInput: there is none, or each of another number of ranks has its own; or it was written beside other weights.
            BrokenFile: it, or a file of the trainer's beside it, is not as it was written.
        Both name the newest checkpoint beside it that is whole.
    """
    if not (folder / FILE).is_file():
        raise BadInput(
            f"no {FILE} in {folder}: the checkpoint was written without the run, or the job was killed while it wrote. "
            f"{_instead(folder)}"
        )
    try:
        found = _whole(folder)
        if found["ranks"] not in (1, ranks.size):
            raise BadInput(
                f"{folder} holds the states of {found['ranks']} ranks, each with its own part, and here are "
                f"{ranks.size}. Start as many."
            )
        if found["ranks"] > 1 and ranks.rank > 0:
            found = _sealed(folder / _name(ranks.rank, ranks.size))
    except BrokenFile as trouble:
        raise BrokenFile(f"{trouble}. {_instead(folder)}") from trouble
    if model is not None and found.get("weights", "") not in ("", _mark(model)):
        raise BadInput(
            f"{folder / FILE} was written beside other weights than the Trainer has loaded, so it is of another run. "
            "Name the folder that they come from to the callback too: PruningCallback(..., resume_from=folder)"
        )
    state: dict[str, Any] = found["run"]
    return state


def last_checkpoint(folder: str | os.PathLike[str]) -> Path | None:
    """The newest checkpoint of a trainer that is whole, the state of the run with it; None if there is none.

    A job that is killed while it writes leaves a folder that looks like a checkpoint. Such are left out, with a
    :class:`~niwaki.errors.Damaged` warning: the state of the run is written last and knows how large the others are.

    Args:
        folder: that holds the checkpoints, such as the Trainer's ``output_dir``: ``checkpoint-500``, ``step_12``, …;
            the highest number is the newest.
    """
    found = list[tuple[int, Path]]()
    for place in Path(folder).iterdir() if Path(folder).is_dir() else ():
        number = re.search(r"(\d+)$", place.name)
        if number and place.is_dir():
            found.append((int(number[1]), place))
    stems = {*_CHECKPOINTS, *(_stem(place) for _, place in found if (place / FILE).is_file())}
    for _, place in sorted(found, reverse=True):
        reason = _fault(place)
        if not reason:
            return place
        if _stem(place) in stems:  # others have nothing to do with it
            warnings.warn(f"{reason}; the checkpoint before is looked at", Damaged, stacklevel=2)
    return None


def _mark(model: nn.Module) -> str:
    """A hash of a few entries of every weight; none where ranks hold parts of them."""
    return "" if fully_sharded(model) else digest(sample(model, 16))


def _stem(folder: Path) -> str:
    return folder.name.rstrip("0123456789")


def _name(rank: int, size: int) -> str:
    return FILE if rank == 0 else f"{Path(FILE).stem}.rank{rank}of{size}.pt"


def _sealed(path: Path) -> dict[str, Any]:
    found = unseal(path)
    kinds = {"run": dict, "beside": dict, "ranks": int}
    if (
        not isinstance(found, dict)
        or found.get("version") != VERSION
        or any(not isinstance(found.get(key), kind) for key, kind in kinds.items())
    ):
        raise BrokenFile(f"{path} was written by another release, or holds no state of a run")
    return found


def _whole(folder: Path) -> dict[str, Any]:
    """What the first rank wrote, where all that belongs to it is there."""
    found = _sealed(folder / FILE)
    for rank in range(1, found["ranks"]):
        require_whole(folder / _name(rank, found["ranks"]))
    for name, size in found["beside"].items():
        path = folder / Path(name).name
        there = path.stat().st_size if path.is_file() else None
        if there is None or (there != size and (size >= 0 or there == 0)):
            told = "is not there" if there is None else f"has {there:,} bytes and was cut short"
            raise BrokenFile(f"{path} {told}")
    return found


def _fault(folder: Path) -> str:
    if not (folder / FILE).is_file():
        return f"{folder} has no {FILE}"
    try:
        _whole(folder)
    except (BrokenFile, BadInput) as trouble:
        return str(trouble)
    return ""


def _instead(folder: Path) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Damaged)
        other = last_checkpoint(folder.parent)
    if other is None or other.resolve() == folder.resolve():
        return "Begin anew, or go on from another one."
    return f"Go on from {other}, the newest beside it that is whole."


def _sizes(folder: Path) -> dict[str, int]:
    """Of the trainer's files, -1 for those that other ranks may still be writing."""
    ours = Path(FILE).stem
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith(f"{ours}.")]
    return {path.name: -1 if re.fullmatch(_OF_RANK, path.name) else path.stat().st_size for path in files}


__all__ = ["FILE", "last_checkpoint", "read", "write"]
