"""Where a run stands, on disk: after a stop the same recipe goes on from there, bit for bit."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from niwaki.errors import BadInput, BrokenFile
from niwaki.recipes.record import RunRecord
from niwaki.recipes.schema import Recipe
from niwaki.recipes.stopping import Stopping
from niwaki.replacing import made, replacing, swept, writable
from niwaki.savepoints import Savepoints

VERSION = 1
RUN, STAND = "run.json", "progress"
PACKED = "-packed"  # behind the name of a method's folder, for that of its packed network
_STALE = ("manifest.json", "model.onnx", "model.pt2", "model.xml", "model.bin")  # not every run writes all of these
SECONDS = 120.0  # from one checkpoint to the next, at least


def begin(out: Path, recipe: Recipe, dense: nn.Module, resume: bool) -> None:
    """Note what the folder is the run of; or, to resume, see that it is of this very recipe and network.

    Raises:
        BadInput: there is nothing to resume, or it is another run. CannotWrite: nothing can be written to the folder.
    """
    told = {"version": VERSION, "recipe": _plain(recipe), "weights": fingerprint(dense)}
    folders = [*recipe.entries, *(f"{entry}{PACKED}" for entry in recipe.entries)]
    if resume:
        _require_same(out, told)
    for place in (out, *(out / name for name in folders if (out / name).is_dir())):
        swept(writable(place))
    if resume:
        return
    # What an older run has left must not be taken for this one's.
    stale = [f"{folder}/{name}" for folder in folders for name in _STALE]
    for name in ("report.json", "report.html", *stale):
        (out / name).unlink(missing_ok=True)
    for folder in folders:
        forget(out / folder)
    with replacing(out / RUN) as part:
        part.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def forget(folder: Path) -> None:
    """Remove where a method stood: it is finished, or begins anew."""
    if folder.is_dir():
        _points(folder).clear()


def _points(folder: Path) -> Savepoints:
    return Savepoints.beside(folder / STAND)


def fingerprint(model: nn.Module) -> str:
    """The SHA-256 of all weights and buffers with their names, in hexadecimal."""
    found = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if isinstance(tensor, Tensor):
            found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


class Clock:
    """Seconds of each phase, those before a stop with them."""

    def __init__(self, seconds: Mapping[str, float]) -> None:
        self._seconds, self._phase, self._since = dict(seconds), "", 0.0

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Inside, time counts for the phase; outside, for the one that was there before, if there was one."""
        before = self._turn_to(name)
        yield
        self._turn_to(before)

    def pause(self) -> AbstractContextManager[None]:
        """Inside, time counts for none."""
        return self.phase("")

    def _turn_to(self, name: str) -> str:
        before = self._phase
        self._seconds, self._phase, self._since = self.seconds, name, time.perf_counter()
        return before

    @property
    def seconds(self) -> dict[str, float]:
        """Up to now."""
        if not self._phase:
            return dict(self._seconds)
        spent = self._seconds.get(self._phase, 0.0) + time.perf_counter() - self._since
        return {**self._seconds, self._phase: spent}


class Standing:
    """Where one method stands: kept in its folder every two minutes and when a stop is asked for, taken up again after
    it.

    Args:
        folder: of the method. resume: take up what is there.
        stopping: of the run, open around what calls `keep`; one of its own if None.
    """

    def __init__(self, folder: Path, resume: bool, stopping: Stopping | None = None) -> None:
        self._points = _points(made(folder))
        self.state: dict[str, Any] | None = self._found(folder) if resume else None
        if not resume:
            self._points.clear()
        self.record = RunRecord(folder / "record.jsonl", 0 if self.state is None else self.state["rows"])
        self.clock = Clock({} if self.state is None else self.state["seconds"])
        self.stopping = stopping or Stopping()
        self._saved = time.monotonic()

    def of(self, phase: str) -> dict[str, Any] | None:
        """What was kept in this phase, once; None if the run did not stop in it."""
        if self.state is None or self.state["phase"] != phase:
            return None
        found, self.state = self.state, None
        self.record.back_to(found["rows"])
        return found

    @property
    def tunes(self) -> bool:
        """Did it stop in fine-tuning?"""
        return self.state is not None and self.state["phase"] == "finetune"

    def keep(self, phase: str, state: Callable[[], Mapping[str, Any]]) -> None:
        """Keep the state that the function gives, if the last time is long ago; or if it is to stop, and stop."""
        if self.stopping.asked is None and time.monotonic() - self._saved < SECONDS:
            return
        told = {"version": VERSION, "phase": phase, "rows": len(self.record.rows), "seconds": self.clock.seconds}
        self.record.to_disk()
        self._points.save({**told, **state()})
        self._saved = time.monotonic()
        self.stopping.follow()

    def close(self) -> None:
        self.record.close()

    def _found(self, folder: Path) -> dict[str, Any] | None:
        """The newest state that is whole."""
        state = self._points.load()
        if state is not None and (state.get("version") != VERSION or not _needed(state) <= set(state)):
            raise BrokenFile(
                f"{folder} holds states of another release; remove {STAND}-*.pt in it, and its method starts afresh"
            )
        return state


def _needed(state: Mapping[str, Any]) -> set[str]:
    """Keys that a state must have."""
    return {"rows", "seconds", "phase"} | ({"gone"} if state.get("phase") == "finetune" else set())


def _require_same(out: Path, told: Mapping[str, Any]) -> None:
    path = out / RUN
    if not path.is_file():
        raise BadInput(f"{out} holds no run to resume; leave --resume out to start one")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as trouble:
        raise BrokenFile(f"{path} cannot be read ({trouble}); leave --resume out to start afresh") from trouble
    found = found if isinstance(found, dict) else {}
    recipe = _binding(found.get("recipe") or {})  # of older releases, it may hold more
    if {**found, "recipe": recipe} == told:
        return
    keys = [key for key in {**recipe, **told["recipe"]} if recipe.get(key) != told["recipe"].get(key)]
    what = f"the recipe has another {', '.join(keys)}" if keys else "the dense network has other weights"
    raise BadInput(
        f"{out} holds another run: {what}. Give the old recipe again, name another folder with --out, or leave "
        "--resume out to start afresh"
    )


def _plain(recipe: Recipe) -> dict[str, Any]:
    """As JSON gives it back, of what matters."""
    return _binding(json.loads(json.dumps(recipe.to_json(), default=str)))


def _binding(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Without what may change: where the results or the weights lie, how it is timed, and what is exported."""
    return {key: value for key, value in recipe.items() if key not in ("out", "measure", "weights", "export")}


__all__ = ["PACKED", "STAND", "Clock", "Standing", "begin", "fingerprint", "forget"]
