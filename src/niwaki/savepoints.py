"""The last states of a run, in a folder: whatever happens while one is written, the one before is there."""

from __future__ import annotations

import json
import os
import re
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

from niwaki.errors import BadInput, BrokenFile, CannotWrite, Damaged, NotSaved
from niwaki.ranks import Ranks
from niwaki.replacing import writable
from niwaki.sealing import require_whole, seal, unseal

State = dict[str, Any]


class Savepoints:
    """Save the state of a run now and then; after a crash, load the newest that is whole.

    Each state is a file of its own, ``NAME-000012.pt``, with a checksum. It has its name only when all of it is on the
    disk, and only then the oldest is removed: at no moment is there none. Of several ranks each writes its own file
    (``NAME-000012.rank-00000-of-00002.pt``) on a folder that they share or not, and all load the newest that is whole
    on every one of them. ``save`` and ``load`` are called by all ranks.

    Args:
        folder: is made, and tried whether it can be written. keep: how many states are kept, at least 1; with 1 there
            is none to go back to if a file is damaged later. name: of the files, for several runs in one folder.
        ranks: the processes that train together; those of the default process group if None.

    Raises:
        CannotWrite: (on all ranks an error) nothing can be written to the folder.
    """

    def __init__(
        self, folder: str | os.PathLike[str], *, keep: int = 2, name: str = "savepoint", ranks: Ranks | None = None
    ) -> None:
        if keep < 1:
            raise BadInput(f"keep is how many states are kept, at least 1, not {keep}")
        if not name or Path(name).name != name:
            raise BadInput(f"name is the beginning of files' names, without a folder, not {name!r}")
        self.folder, self.keep, self.name = Path(folder), keep, name
        self.ranks = ranks or Ranks.here()
        self._whole: list[int] | None = None  # numbers of states that all ranks have; None until they have been asked
        self._last = 0  # the highest number that any rank has used: none is used twice
        self._tried = False
        self._since = time.time()
        with self.ranks.every("opening savepoints"):
            writable(self.folder)
            for path in self._parts():
                self._remove(path)

    @classmethod
    def beside(cls, path: Path) -> Savepoints:
        """Of one process: the last two states, named as the file that a single one would have (``.pt`` left out)."""
        return cls(path.parent, name=path.name.removesuffix(".pt"), ranks=Ranks.alone())

    def save(self, state: State) -> bool:
        """Write a state: tensors and plain data. All others but the last ``keep`` are removed then.

        Returns:
            Was it written? If not (the disk is full, say), on all ranks, a :class:`~niwaki.errors.NotSaved` warning
            tells why; the states before are there, and training may go on.

        Raises:
            BadInput: the folder holds states that were not loaded, or the state holds more than tensors and plain data.
        """
        if self._whole is None:
            self._refuse_to_overwrite()
        assert self._whole is not None
        self._last += 1
        with self.ranks.every("saving a state"):
            trouble = self._write(state, self._path(self._last))
        reasons = [text for text in self.ranks.texts(trouble) if text]
        if reasons:
            self._remove(self._path(self._last))
            kept = f"the last one is of {self._age()}" if self._whole else "there is none yet"
            warnings.warn(f"a state was not saved, and the run goes on; {kept}. {reasons[0]}", NotSaved, stacklevel=2)
            return False
        self._whole = [*self._whole, self._last][-self.keep :]
        self._since = time.time()
        for number, path in self._mine().items():
            if number not in self._whole:
                self._remove(path)
        return True

    def load(self) -> State | None:
        """The newest state that is whole on all ranks, on the CPU; None if none was ever saved.

        Files that are damaged are left out, with a :class:`~niwaki.errors.Damaged` warning.

        Raises:
            BrokenFile: there are states, and none is whole. BadInput: another number of ranks has written them.
        """
        with self.ranks.every("looking for saved states"):
            mine = self._mine()
            self._refuse_other_ranks(mine)
        every = self._listed(mine)
        common = sorted(set[int].intersection(*map(set, every)))
        damaged: list[str] = []
        while common:
            number = common[-1]
            reasons = [text for text in self.ranks.texts(self._fault(mine[number])) if text]
            if not reasons:
                self._whole = common
                return self._read(mine[number], damaged)
            damaged += reasons
            common.pop()
        # A second one is begun when all ranks have the first: where nobody has two, none was ever whole.
        if damaged or max(map(len, every)) > 1:
            raise self._nothing_left(every, damaged)
        with self.ranks.every("removing what was begun"):  # or else two such would look like one that was whole
            for path in mine.values():
                self._remove(path)
        self._whole = []
        return None

    def clear(self) -> None:
        """Remove all states of this name: the run is over, or begins anew."""
        with self.ranks.every("removing saved states"):
            for path in self._files():
                theirs = self._told(path)
                if theirs is not None and (theirs[1] == self._ending or theirs[2] != self.ranks.size):
                    self._remove(path)
        self._whole = []

    @property
    def _ending(self) -> str:
        return "" if self.ranks.size == 1 else f".rank-{self.ranks.rank:05}-of-{self.ranks.size:05}"

    def _path(self, number: int) -> Path:
        return self.folder / f"{self.name}-{number:06}{self._ending}.pt"

    def _files(self) -> list[Path]:
        return sorted(path for path in self.folder.iterdir() if path.name.startswith(f"{self.name}-"))

    def _parts(self) -> list[Path]:
        """What this rank was writing when it was killed."""
        wanted = rf"{re.escape(self.name)}-\d{{6,}}{re.escape(self._ending)}\.pt\.\d+\.part"
        return [path for path in self._files() if re.fullmatch(wanted, path.name, re.ASCII)]

    def _told(self, path: Path) -> tuple[int, str, int] | None:
        """What a file's name says: its number, its ending, and how many ranks wrote it."""
        found = re.fullmatch(
            rf"{re.escape(self.name)}-(\d{{6,}})(\.rank-\d{{5}}-of-(\d{{5}}))?\.pt", path.name, re.ASCII
        )
        return None if found is None else (int(found[1]), found[2] or "", int(found[3] or 1))

    def _mine(self) -> dict[int, Path]:
        """The files of this rank by number, ascending."""
        named = [(self._told(path), path) for path in self._files()]
        return {told[0]: path for told, path in named if told is not None and told[1] == self._ending}

    def _listed(self, mine: dict[int, Path]) -> list[list[int]]:
        """Which states every rank has."""
        every = [json.loads(text) for text in self.ranks.texts(json.dumps(sorted(mine)))]
        self._last = max([self._last, *(number for numbers in every for number in numbers)])
        return every

    def _write(self, state: State, path: Path) -> str:
        """What went wrong, if the disk did not take it."""
        try:
            seal(state, path)
        except CannotWrite as trouble:
            return str(trouble)
        if not self._tried:  # while the run is young: can it be read?
            try:
                unseal(path)
            except BadInput:
                self._remove(path)
                raise
            self._tried = True
        return ""

    def _read(self, path: Path, damaged: list[str]) -> State:
        with self.ranks.every("loading a state"):
            self._since = path.stat().st_mtime
            if damaged:
                told = "; ".join(damaged)
                text = f"{told}. The state before is used: {path}, of {self._age()}"
                warnings.warn(text, Damaged, stacklevel=3)
            if self.ranks.size > 1:
                import torch.distributed.tensor  # noqa: F401 - so that torch.load knows tensors in shards
            state: State = unseal(path)
            return state

    def _fault(self, path: Path) -> str:
        try:
            require_whole(path)
        except BrokenFile as trouble:
            return str(trouble)
        return ""

    def _refuse_to_overwrite(self) -> None:
        with self.ranks.every("looking for saved states"):
            mine = self._mine()
            self._refuse_other_ranks(mine)
        if any(self._listed(mine)):
            raise BadInput(
                f"{self.folder} holds states of a run, named {self.name}-*. Call load() before save() to go on from "
                "the newest, or clear() to begin anew."
            )
        self._whole = []

    def _refuse_other_ranks(self, mine: dict[int, Path]) -> None:
        sizes = {told[2] for told in map(self._told, self._files()) if told is not None} - {self.ranks.size}
        if sizes and not mine:
            raise BadInput(
                f"the states in {self.folder} were written by {min(sizes)} ranks, and here are {self.ranks.size}. "
                "Start as many, or call clear() to begin anew."
            )

    def _nothing_left(self, every: list[list[int]], damaged: list[str]) -> BrokenFile:
        if damaged:
            told = "; ".join(damaged)
        else:
            told = "; ".join(f"rank {rank} has {numbers or 'none'}" for rank, numbers in enumerate(every))
        return BrokenFile(
            f"no state in {self.folder} is whole on all ranks: {told}. Bring back a copy of the files, or call clear() "
            "to begin anew."
        )

    def _age(self) -> str:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self._since))

    def _remove(self, path: Path) -> None:
        with suppress(OSError):  # one too many does no harm
            path.unlink(missing_ok=True)


__all__ = ["Savepoints", "State"]
