"""The files that saved states lie in: what a name tells, which are whose, and which run they are of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from niwaki.errors import BadInput
from niwaki.replacing import left, replacing

_RANK = r"\.rank-(\d{5})-of-(\d{5})"
_NUMBER = r"\d{6,}"
_LONGEST = 150  # bytes of a name: what is put behind it must find room in the 255 that file systems give


@dataclass(frozen=True)
class SavedFiles:
    """The states of one name in a folder, as one of ``size`` ranks sees them.

    State 12 is ``NAME-000012.pt``, or of several ranks ``NAME-000012.rank-00000-of-00002.pt``; beside those a note
    tells which run has begun here.
    """

    folder: Path
    name: str
    rank: int
    size: int

    def __post_init__(self) -> None:
        _require_name(self.name)

    def path(self, number: int) -> Path:
        """Of this rank."""
        return self.folder / f"{self.name}-{number:06}{self._ending}.pt"

    @property
    def note(self) -> Path:
        """Which run has states here that were whole on all ranks."""
        return self.folder / f"{self.name}-begun{self._ending}"

    def mine(self) -> dict[int, Path]:
        """The files of this rank by number, ascending."""
        return self.by_rank()[self.rank]

    def by_rank(self) -> dict[int, dict[int, Path]]:
        """Files of as many ranks as there are, by rank (this one always), and by number, ascending."""
        found: dict[int, dict[int, Path]] = {self.rank: {}}
        for path, (number, rank, size) in self._states():
            if size == self.size:
                found.setdefault(rank, {})[number] = path
        return found

    def other_sizes(self) -> set[int]:
        """Other numbers of ranks that have written states here."""
        return {size for _, (_, _, size) in self._states()} - {self.size}

    def run(self) -> str:
        """What the note says; nothing if there is none that can be read."""
        try:
            found = self.note.read_text(encoding="ascii")
        except (OSError, ValueError):
            return ""
        return found if re.fullmatch(r"[0-9a-f]{16}", found) else ""

    def note_run(self, run: str) -> None:
        """Write the note, of several ranks, if there is none."""
        if self.size > 1 and not self.note.exists():
            with replacing(self.note) as part:
                part.write_text(run, encoding="ascii")

    def remove_begun(self) -> None:
        """Remove what this rank was writing when it was killed."""
        _remove(left(self.folder, rf"{self._name}-(?:{_NUMBER}{self._ending}\.pt|begun{self._ending})"))

    def remove_all(self) -> None:
        """Remove what any rank has written, or begun to write."""
        notes = [path for path in self._files() if re.fullmatch(rf"{self._name}-begun{_RANK}", path.name, re.ASCII)]
        parts = left(self.folder, rf"{self._name}-(?:{_NUMBER}(?:{_RANK})?\.pt|begun{_RANK})")
        _remove([*(path for path, _ in self._states()), *notes, *parts])

    def remove_mine(self, keep: tuple[int, ...] = ()) -> None:
        """Remove this rank's states but those of these numbers; its note too if none is kept."""
        _remove(path for number, path in self.mine().items() if number not in keep)
        if not keep:
            _remove([self.note])

    def remove(self, number: int) -> None:
        """Remove one state of this rank, if it is there."""
        _remove([self.path(number)])

    @property
    def _name(self) -> str:
        return re.escape(self.name)

    @property
    def _ending(self) -> str:
        return "" if self.size == 1 else f".rank-{self.rank:05}-of-{self.size:05}"

    def _files(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return sorted(path for path in self.folder.iterdir() if path.name.startswith(f"{self.name}-"))

    def _states(self) -> Iterator[tuple[Path, tuple[int, int, int]]]:
        """All states of this name, and what each is called after: its number, its rank, of how many ranks."""
        for path in self._files():
            told = re.fullmatch(rf"{self._name}-({_NUMBER})(?:{_RANK})?\.pt", path.name, re.ASCII)
            if told is not None:
                yield path, (int(told[1]), int(told[2] or 0), int(told[3] or 1))


def _remove(paths: Iterator[Path] | list[Path]) -> None:
    for path in paths:
        with suppress(OSError):  # one too many does no harm
            path.unlink(missing_ok=True)


def _require_name(name: object) -> None:
    if not isinstance(name, str) or not name.isprintable() or name in ("", ".", "..") or re.search(r"[/\\]", name):
        raise BadInput(f"name is the beginning of files' names, without a folder, not {name!r}")
    size = len(name.encode())
    if size > _LONGEST:
        raise BadInput(f"name is the beginning of files' names, up to {_LONGEST} bytes, and {name[:20]!r}… has {size}")


__all__ = ["SavedFiles"]
