"""The last states of a run, in a folder: whatever happens while one is written, the one before is there."""

from __future__ import annotations

import json
import os
import secrets
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch.distributed as dist

from niwaki.errors import BadInput, BrokenFile, CannotWrite, Damaged, NotSaved
from niwaki.ranks import Ranks
from niwaki.replacing import made, writable
from niwaki.savedfiles import SavedFiles
from niwaki.sealing import require_readable, seal, unseal

State = dict[str, Any]


class Savepoints:
    """Save the state of a run now and then; after a crash, load the newest that is whole.

    Each state is a file of its own, ``NAME-000012.pt``, with a checksum. It has its name only when all of it is on the
    disk, and only then the oldest is removed: at no moment is there none. Of several ranks each writes its own file
    (``NAME-000012.rank-00000-of-00002.pt``) on a folder that they share or not, and all load the newest that is whole
    on every one of them. ``save`` and ``load`` are called by all ranks.

    One run at a time has a folder and name; what it was writing when it was killed is removed when they are opened.

    Args:
        folder: is made, and tried whether it can be written. keep: how many states are kept, at least 1; with 1 there
            is none to go back to if a file is damaged later. name: of the files, for several runs in one folder; up to
            150 bytes.
        ranks: the processes that train together; those of the default process group if None.

    Raises:
        CannotWrite: (on all ranks an error) nothing can be written to the folder. BadInput: ``keep`` or ``name`` cannot
            be meant, or a launcher has started several ranks that do not know each other yet.
    """

    def __init__(
        self, folder: str | os.PathLike[str], *, keep: int = 2, name: str = "savepoint", ranks: Ranks | None = None
    ) -> None:
        if not isinstance(keep, int) or isinstance(keep, bool) or keep < 1:
            raise BadInput(f"keep is how many states are kept, a whole number, at least 1, not {keep!r}")
        self.ranks = ranks or _here()
        self.folder, self.keep, self.name = Path(folder), keep, name
        self._files = SavedFiles(self.folder, name, self.ranks.rank, self.ranks.size)
        self._whole: list[int] | None = None  # numbers of states that all ranks have; None until they have been asked
        self._last = 0  # the highest number that any rank has used: none is used twice
        self._known = set[int]()  # numbers that this run has found here, or written
        self._run = ""  # drawn by the first rank when the first state is saved; of one process there is none
        self._since = time.time()
        with self.ranks.every("opening savepoints"):
            writable(self.folder)
            self._files.remove_begun()

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
            BadInput: the folder holds states that were not loaded, or another run writes there; or the state is no
                dict, or holds more than tensors and plain data.
        """
        if self._whole is None:
            self._refuse_to_overwrite()
        assert self._whole is not None
        with self.ranks.every("looking for states of other runs"):
            self._refuse_another_run()
        self._last += 1
        self._known.add(self._last)
        try:
            with self.ranks.every("saving a state"):
                trouble = self._write(state, self._files.path(self._last))
        except BaseException:
            self._files.remove(self._last)
            raise
        told = [json.loads(text) for text in self.ranks.texts(json.dumps([trouble, self._run or secrets.token_hex(8)]))]
        reasons = [reason for reason, _ in told if reason]
        if reasons:
            self._files.remove(self._last)
            there = any(self._files.path(number).is_file() for number in self._whole)
            kept = f"the last one is of {self._age()}" if there else "there is none yet"
            warnings.warn(f"a state was not saved, and the run goes on; {kept}. {reasons[0]}", NotSaved, stacklevel=2)
            return False
        self._run = told[0][1]
        self._whole = [*self._whole, self._last][-self.keep :]
        self._since = time.time()
        with suppress(OSError, CannotWrite):  # the state is there; what is left to do is done the next time
            self._files.note_run(self._run)
            self._files.remove_mine(keep=tuple(self._whole))
        return True

    def load(self) -> State | None:
        """The newest state that is whole on all ranks, on the CPU; None if none was ever saved.

        Files that are damaged are left out, with a :class:`~niwaki.errors.Damaged` warning.

        Raises:
            BrokenFile: there are states, and none is whole on all ranks. BadInput: another number of ranks has written
                them, or the ranks have changed places, each with a disk of its own.
        """
        mine, every = self._looked()
        common = sorted(set[int].intersection(*(set(each["numbers"]) for each in every)))
        damaged: list[str] = []
        while common:
            number = common[-1]
            state, trouble = self._read(mine[number])
            reasons = [text for text in self.ranks.texts(trouble) if text]
            if not reasons:
                self._whole = common
                self._tell(damaged, mine[number])
                return state
            damaged += reasons
            common.pop()
        numbers = [each["numbers"] for each in every]
        # A second one is begun when all ranks have the first, and a run is noted then: else none was ever whole.
        if damaged or max(map(len, numbers)) > 1 or (any(numbers) and any(each["run"] for each in every)):
            raise self._nothing_left(numbers, damaged)
        with self.ranks.every("removing what was begun"):  # or else two such would look like one that was whole
            self._files.remove_mine()
        self._whole, self._run = [], ""
        return None

    def clear(self) -> None:
        """Remove all states of this name, of all ranks: the run is over, or begins anew."""
        with self.ranks.every("removing saved states"):
            self._files.remove_all()
        self._whole, self._run = [], ""

    def _looked(self) -> tuple[dict[int, Path], list[dict[str, Any]]]:
        """This rank's files by number; and of every rank its ``numbers``, its ``run``, and which ``others`` have files
        in its folder."""
        with self.ranks.every("looking for saved states"):
            there = self._files.by_rank()
            mine = there.pop(self.ranks.rank)
            self._refuse_other_ranks(mine)
            found = {"numbers": sorted(mine), "others": sorted(there), "run": self._files.run()}
        every = [json.loads(text) for text in self.ranks.texts(json.dumps(found))]
        self._last = max([self._last, *(number for each in every for number in each["numbers"])])
        self._known |= set(mine)
        self._refuse_other_places(every)
        runs = sorted({each["run"] for each in every if each["run"] and each["numbers"]})
        if len(runs) > 1:
            raise BrokenFile(
                f"the ranks' states in {self.folder} are of {len(runs)} runs, which do not go together. Bring back the "
                "files of one run to all ranks, or call clear() to begin anew."
            )
        self._run = runs[0] if runs else ""
        return mine, every

    def _write(self, state: State, path: Path) -> str:
        """What went wrong, if the disk did not take it."""
        if not isinstance(state, dict):
            raise BadInput(f"a state is a dict of tensors and plain data, not {type(state).__name__}")
        try:
            made(self.folder)
            seal(state, path)
        except CannotWrite as trouble:
            return str(trouble)
        require_readable(path)
        return ""

    def _read(self, path: Path) -> tuple[State | None, str]:
        """A state; or what is wrong with it."""
        with self.ranks.every("loading a state"):
            try:
                return unseal(path), ""
            except (BrokenFile, BadInput) as trouble:
                return None, str(trouble)

    def _tell(self, damaged: list[str], path: Path) -> None:
        """Which one is used, where newer ones are damaged."""
        with suppress(OSError):
            self._since = path.stat().st_mtime
        if damaged:
            text = f"{'; '.join(damaged)}. The state before is used: {path}, of {self._age()}"
            warnings.warn(text, Damaged, stacklevel=3)

    def _refuse_to_overwrite(self) -> None:
        _, every = self._looked()
        if any(each["numbers"] for each in every):
            raise BadInput(
                f"{self.folder} holds states of a run, named {self.name}-*. Call load() before save() to go on from "
                "the newest, or clear() to begin anew."
            )
        self._whole = []

    def _refuse_another_run(self) -> None:
        found = set[int]()
        with suppress(OSError):  # a folder that cannot be read cannot be written either, which is told then
            found = set(self._files.mine()) - self._known
        if found:
            raise BadInput(
                f"{self.folder} holds state {max(found)} of {self.name}-*, which this run has not written: another one "
                "saves there too. Stop one of them, or give it a folder or a name of its own."
            )

    def _refuse_other_ranks(self, mine: dict[int, Path]) -> None:
        sizes = self._files.other_sizes()
        if sizes and not mine:
            raise BadInput(
                f"the states in {self.folder} were written by {min(sizes)} ranks, and here are {self.ranks.size}. "
                "Start as many, or call clear() to begin anew."
            )

    def _refuse_other_places(self, every: list[dict[str, Any]]) -> None:
        """Of ranks with disks of their own, each must find its own files, not those of another."""
        told = [
            f"those of rank {rank} lie where rank {place} is now"
            for rank, each in enumerate(every)
            for place, other in enumerate(every)
            if not each["numbers"] and rank in other["others"]
        ]
        if told:
            raise BadInput(
                f"ranks do not find their states in {self.folder}: {'; '.join(told)}. Start them on the machines on "
                "which they were, bring the files to them, or call clear() to begin anew."
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


def _here() -> Ranks:
    """All processes of the default group, which must be there if a launcher has started several."""
    if dist.is_available() and dist.is_torchelastic_launched() and not dist.is_initialized():
        size = os.environ.get("WORLD_SIZE", "1")
        if size != "1":
            raise BadInput(
                f"a launcher has started {size} ranks, which would all write the same files. Call "
                "torch.distributed.init_process_group before; or, if each is to have states of its own, give it a name "
                "of its own and ranks=niwaki.ranks.Ranks.alone()."
            )
    return Ranks.here()


__all__ = ["Savepoints", "State"]
