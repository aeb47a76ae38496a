"""The last states of a run: whatever happens while one is written, the one before is there."""

from __future__ import annotations

import errno
import io
import os
import shutil
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import niwaki as nk
from niwaki import savepoints
from niwaki.errors import BadInput, BrokenFile, CannotWrite, Damaged, NotSaved, RankFailed
from niwaki.ranks import Ranks
from niwaki.savepoints import Savepoints

DEAD = 99_999_999  # no process has this number


def state(steps: int) -> dict[str, Any]:
    return {"steps": steps, "weight": torch.full((40,), float(steps))}


def steps_of(found: dict[str, Any] | None) -> int | None:
    if found is None:
        return None
    assert torch.equal(found["weight"], torch.full((40,), float(found["steps"])))
    return int(found["steps"])


def saved(folder: Path, *steps: int, **more: Any) -> Savepoints:
    points = Savepoints(folder, **more)
    points.load()
    for each in steps:
        assert points.save(state(each))
    return points


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_last_ones_are_kept_and_the_newest_is_loaded(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2, 3)
    assert names(tmp_path) == ["savepoint-000002.pt", "savepoint-000003.pt"]
    assert steps_of(Savepoints(tmp_path).load()) == 3
    saved(tmp_path, 4)
    assert names(tmp_path) == ["savepoint-000003.pt", "savepoint-000004.pt"]


@pytest.mark.parametrize("keep", [1, 3])
def test_as_many_are_kept_as_is_asked(tmp_path: Path, keep: int) -> None:
    saved(tmp_path, 1, 2, 3, 4, keep=keep)
    assert len(names(tmp_path)) == keep
    assert steps_of(Savepoints(tmp_path, keep=keep).load()) == 4


def test_an_empty_folder_has_no_state(tmp_path: Path) -> None:
    assert Savepoints(tmp_path / "a" / "b").load() is None


def test_several_runs_share_a_folder(tmp_path: Path) -> None:
    saved(tmp_path, 1, name="a")
    saved(tmp_path, 2, name="a-000001")
    (tmp_path / "a-000009.pt.bak").write_text("no state")
    assert steps_of(Savepoints(tmp_path, name="a").load()) == 1
    Savepoints(tmp_path, name="a").clear()
    assert steps_of(Savepoints(tmp_path, name="a-000001").load()) == 2
    assert names(tmp_path) == ["a-000001-000001.pt", "a-000009.pt.bak"]


# -- a process that dies at any operation on files ----------------------------------------------------------------


class Dead(BaseException):
    """The process was killed: nothing runs after it."""


class Mortal:
    """Dies at operation ``last`` on files, in the middle of it if it is a writing, and does nothing after it."""

    def __init__(self, patch: pytest.MonkeyPatch, last: int) -> None:
        self.left = last
        for name in ("replace", "unlink", "fsync", "open", "mkdir"):
            patch.setattr(os, name, self.dying(getattr(os, name)))
        opened = io.open
        patch.setattr(io, "open", lambda *a, **k: self.file(self.dying(opened)(*a, **k), str(a[1:]) + str(k)))

    def dying(self, do: Callable[..., Any]) -> Callable[..., Any]:
        def done(*args: Any, **kwargs: Any) -> Any:
            self.count()
            return do(*args, **kwargs)

        return done

    def count(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Dead

    def file(self, file: Any, mode: str) -> Any:
        if "w" not in mode:
            return file
        write = file.write

        def writing(data: Any) -> Any:
            try:
                self.count()
            except Dead:
                if self.left == -1:
                    write(bytes(data)[: len(data) // 2])
                    file.flush()
                raise
            return write(data)

        return Writing(file, writing)


class Writing:
    def __init__(self, file: Any, write: Callable[[Any], Any]) -> None:
        self._file, self.write = file, write

    def __enter__(self) -> Writing:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def flush(self) -> None:
        self._file.flush()


def dies(folder: Path, last: int, do: Callable[[], object]) -> bool:
    """Does it die at that operation?"""
    with pytest.MonkeyPatch.context() as patch:
        Mortal(patch, last)
        try:
            do()
        except Dead:
            return True
    return False


@pytest.mark.parametrize("keep", [1, 2])
@pytest.mark.parametrize("before", [0, 1, 2, 3])
def test_a_process_may_die_at_every_operation_on_files(tmp_path: Path, before: int, keep: int) -> None:
    """The state before is there, or the new one is; and the next process goes on from it, and leaves nothing behind."""
    last = 0
    while True:
        folder = tmp_path / str(last)
        points = saved(folder, *range(1, before + 1), keep=keep)
        died = dies(folder, last, lambda points=points: points.save(state(before + 1)))  # type: ignore[misc]
        again = Savepoints(folder, keep=keep)
        found = steps_of(again.load())
        assert found in (before or None, before + 1), f"after operation {last} there is {found}"
        assert again.save(state(before + 2))
        assert steps_of(Savepoints(folder, keep=keep).load()) == before + 2
        assert len(names(folder)) == min(keep, before + 2 if found == before + 1 else before + 1), names(folder)
        if not died:
            break
        last += 1
    assert last >= 7


def test_a_process_may_die_while_it_looks_for_a_state(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2)
    (tmp_path / f"savepoint-000003.pt.{DEAD}.part").write_bytes(b"half")
    last = 0
    while dies(tmp_path, last, lambda: Savepoints(tmp_path).load()):
        last += 1
        assert steps_of(Savepoints(tmp_path).load()) == 2
    assert last >= 3
    assert names(tmp_path) == ["savepoint-000001.pt", "savepoint-000002.pt"]


# -- damaged files ------------------------------------------------------------------------------------------------


def cut(path: Path, length: int = 100) -> None:
    path.write_bytes(path.read_bytes()[:length])


def test_of_a_damaged_file_the_one_before_is_used_and_it_is_told(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2)
    cut(tmp_path / "savepoint-000002.pt")
    points = Savepoints(tmp_path)
    with pytest.warns(Damaged, match=r"000002.pt is cut short.* state before is used: .*-000001.pt, of \d{4}-"):
        assert steps_of(points.load()) == 1
    assert points.save(state(5))
    assert names(tmp_path) == ["savepoint-000001.pt", "savepoint-000003.pt"], "no number is used twice"
    assert steps_of(Savepoints(tmp_path).load()) == 5


def test_where_none_is_whole_all_are_told_and_none_is_touched(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2)
    for path in tmp_path.iterdir():
        cut(path, 0)
    points = Savepoints(tmp_path)
    with pytest.raises(BrokenFile, match=r"no state in .* is whole.*2.pt is empty; .*1.pt is empty.*call clear\(\)"):
        points.load()
    with pytest.raises(BadInput, match=r"Call load\(\) before save\(\)"):
        points.save(state(3))
    assert len(names(tmp_path)) == 2
    points.clear()
    assert points.save(state(3))


# -- what the disk refuses ----------------------------------------------------------------------------------------


def test_a_state_that_cannot_be_written_is_no_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = saved(tmp_path, 1, 2)
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(os, "replace", lambda *a: (_ for _ in ()).throw(full))
    with pytest.warns(NotSaved, match=r"the run goes on; the last one is of \d{4}-.*-000003.pt cannot be written: the"):
        assert not points.save(state(3))
    assert names(tmp_path) == ["savepoint-000001.pt", "savepoint-000002.pt"]
    monkeypatch.undo()
    assert steps_of(Savepoints(tmp_path).load()) == 2
    assert points.save(state(4))
    assert steps_of(Savepoints(tmp_path).load()) == 4


def test_before_the_first_there_is_none_to_tell_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = Savepoints(tmp_path)
    full = OSError(errno.EDQUOT, "Disk quota exceeded")
    monkeypatch.setattr(os, "fsync", lambda *a: (_ for _ in ()).throw(full))
    with pytest.warns(NotSaved, match="there is none yet.*your quota is used up"):
        assert not points.save(state(3))
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotWrite, match="a file is where its folder must be"):
        Savepoints(tmp_path / "file" / "run")


# -- what is no use of them ---------------------------------------------------------------------------------------


def test_states_of_a_run_are_not_overwritten_by_another(tmp_path: Path) -> None:
    saved(tmp_path, 1)
    points = Savepoints(tmp_path)
    with pytest.raises(BadInput, match=r"holds states of a run, named savepoint-\*. Call load"):
        points.save(state(9))
    points.clear()
    assert points.save(state(9))
    assert steps_of(Savepoints(tmp_path).load()) == 9


NO_STATES: dict[str, Any] = {
    "a path": {"best": Path("x")},
    "a number of numpy": {"best": np.float64(0.9)},
    "a function": {"best": lambda: 0},
    "a lock": {"best": threading.Lock()},
    "nothing": None,
    "a list": [1],
}


@pytest.mark.parametrize("what", NO_STATES)
def test_what_could_not_be_read_again_is_told_whenever_it_is_saved(tmp_path: Path, what: str) -> None:
    points = Savepoints(tmp_path)
    with pytest.raises(BadInput, match="tensors and plain data"):
        points.save(NO_STATES[what])
    assert names(tmp_path) == []
    assert points.save({"best": None, **state(1)})
    with pytest.raises(BadInput, match="tensors and plain data"):
        points.save(NO_STATES[what])
    assert points.save(state(2)), "it may be saved otherwise"
    assert steps_of(Savepoints(tmp_path).load()) == 2


def test_tensors_of_all_layouts_are_plain_data(tmp_path: Path) -> None:
    sparse = torch.sparse_coo_tensor(torch.tensor([[0, 2]]), torch.ones(2), (3,), check_invariants=True)
    assert Savepoints(tmp_path).save({"sparse": sparse, "generator": torch.Generator().get_state()})
    found = Savepoints(tmp_path).load()
    assert found is not None
    assert torch.equal(found["sparse"].to_dense(), sparse.to_dense())


def test_of_a_whole_file_that_cannot_be_read_the_one_before_is_used(tmp_path: Path) -> None:
    saved(tmp_path, 1)
    savepoints.seal({"best": tmp_path}, tmp_path / "savepoint-000002.pt")
    with pytest.warns(Damaged, match=r"000002.pt holds more than tensors .* The state before is used"):
        assert steps_of(Savepoints(tmp_path).load()) == 1


def test_each_file_is_read_once_for_its_checksum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path, 1, 2)
    read: list[Path] = []
    real = savepoints.unseal
    monkeypatch.setattr(savepoints, "unseal", lambda path: (read.append(path), real(path))[1])
    monkeypatch.setattr("niwaki.sealing.torch.load", counted(torch.load, loads := []))
    assert steps_of(Savepoints(tmp_path).load()) == 2
    assert len(read) == len(loads) == 1
    loads.clear()
    saved(tmp_path, 3)
    assert loads == ["cpu", "meta"], "no second copy is made of what is saved"


def counted(load: Callable[..., Any], loads: list[str]) -> Callable[..., Any]:
    def loading(*args: Any, **kwargs: Any) -> Any:
        loads.append(kwargs["map_location"])
        return load(*args, **kwargs)

    return loading


def test_another_run_that_saves_there_is_told(tmp_path: Path) -> None:
    one = saved(tmp_path, 1)
    other = saved(tmp_path, 2)
    with pytest.raises(BadInput, match=r"holds state 2 of savepoint-\*, which this run has not written"):
        one.save(state(9))
    assert steps_of(Savepoints(tmp_path).load()) == 2
    assert other.save(state(3))


def test_what_a_living_process_writes_is_let_be(tmp_path: Path) -> None:
    """And what a dead one has left is swept: its parts and its probes, by ``clear`` those of other ranks too."""
    theirs = ("savepoint-000003.rank-00001-of-00002.pt", "savepoint-begun.rank-00001-of-00002", "other-000001.pt")
    for name in ("savepoint-000003.pt", "probe", *theirs):
        for process in (DEAD, os.getppid()):
            (tmp_path / f"{name}.{process}.0123abcd.part").write_text("half")
    (tmp_path / "savepoint-data.tar.part").write_text("a user's")
    points = Savepoints(tmp_path)
    points.load()
    assert not list(tmp_path.glob(f"probe.{DEAD}.*")) + list(tmp_path.glob(f"savepoint-000003.pt.{DEAD}.*"))
    assert len(names(tmp_path)) == 9
    points.save(state(1))
    points.clear()
    assert [name for name in names(tmp_path) if str(DEAD) in name] == [f"other-000001.pt.{DEAD}.0123abcd.part"]
    assert len(names(tmp_path)) == 7


def test_a_folder_that_was_removed_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = saved(tmp_path / "run", 1, 2)
    shutil.rmtree(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *a: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
        with pytest.warns(NotSaved, match="there is none yet"):
            assert not points.save(state(3))
    shutil.rmtree(tmp_path / "run")
    assert points.save(state(4))
    assert steps_of(Savepoints(tmp_path / "run").load()) == 4


def test_a_disk_that_cannot_be_listed_does_not_undo_a_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = saved(tmp_path, 1, 2)
    monkeypatch.setattr(Path, "iterdir", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "fails")))
    assert points.save(state(3))
    monkeypatch.undo()
    assert points.save(state(4))
    assert names(tmp_path) == ["savepoint-000003.pt", "savepoint-000004.pt"]


def test_ranks_that_do_not_know_each_other_yet_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(BadInput, match=r"has started 2 ranks.*init_process_group before"):
        Savepoints(tmp_path)
    assert Savepoints(tmp_path, ranks=Ranks.alone()).save(state(1))
    assert Savepoints.beside(tmp_path / "other.pt").save(state(1))
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert steps_of(Savepoints(tmp_path).load()) == 1


BAD: dict[str, dict[str, Any]] = {
    "at least 1, not 0": {"keep": 0},
    "at least 1, not 2.5": {"keep": 2.5},
    "at least 1, not '2'": {"keep": "2"},
    "at least 1, not True": {"keep": True},
    "without a folder, not 'a/b'": {"name": "a/b"},
    "not ''": {"name": ""},
    "not 3": {"name": 3},
    "not '..'": {"name": ".."},
    r"not 'a\\x00b'": {"name": "a\0b"},
    "up to 150 bytes, and 'nnnnnnnnnnnnnnnnnnnn'… has 151": {"name": "n" * 151},
}


@pytest.mark.parametrize("told", BAD)
def test_bad_input_is_told(tmp_path: Path, told: str) -> None:
    with pytest.raises(BadInput, match=told):
        Savepoints(tmp_path, **BAD[told])
    assert Savepoints(tmp_path, name="n" * 150).save(state(1))


# -- several ranks ------------------------------------------------------------------------------------------------


class Threads(Ranks):
    """Ranks that are threads of this process; what they tell each other goes through a list."""

    def __init__(self, rank: int, slots: list[Any], barrier: threading.Barrier) -> None:
        self.__dict__.update(group=None, _rank=rank, _slots=slots, _barrier=barrier)

    @property
    def size(self) -> int:
        return len(self.__dict__["_slots"])

    @property
    def rank(self) -> int:
        return int(self.__dict__["_rank"])

    def _gathered(self, mine: torch.Tensor) -> list[torch.Tensor]:
        slots, barrier = self.__dict__["_slots"], self.__dict__["_barrier"]
        slots[self.rank] = mine
        barrier.wait(20)
        found = list(slots)
        barrier.wait(20)
        return found


def together(do: Callable[[Any], Any], size: int = 2) -> list[Any]:
    """What every rank gives, or raises."""
    slots, barrier, found = [None] * size, threading.Barrier(size), list[Any]([None] * size)

    def one(rank: int) -> None:
        try:
            found[rank] = do(Threads(rank, slots, barrier))
        except Exception as trouble:
            found[rank] = trouble

    threads = [threading.Thread(target=one, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def kinds(found: list[Any]) -> list[type]:
    return [type(each) for each in found]


def file_of(rank: int, size: int, number: int) -> str:
    return f"savepoint-{number:06}.rank-{rank:05}-of-{size:05}.pt"


def states(folder: Path) -> list[str]:
    return [name for name in names(folder) if name.endswith(".pt")]


def laid(folder: Path, numbers: list[list[int]]) -> None:
    """What ranks had written when they died: numbers of states by rank."""
    for rank, mine in enumerate(numbers):
        for number in mine:
            savepoints.seal(state(number), folder / file_of(rank, len(numbers), number))


def trained(*steps: int, keep: int = 2) -> Callable[[Path], Callable[[Any], int | None]]:
    """Ranks that load and save so many, in a folder or each on a disk of its own in it."""

    def of(folder: Path, own: bool = True, places: tuple[int, ...] = (0, 1)) -> Callable[[Any], int | None]:
        def train(ranks: Any) -> int | None:
            place = folder / str(places[ranks.rank]) if own else folder
            points = Savepoints(place, keep=keep, ranks=ranks)
            found = steps_of(points.load())
            for each in steps:
                assert points.save(state(each))
            return found

        return train

    return of


LAID: dict[str, tuple[list[list[int]], int | type[Exception] | None]] = {
    "all have both": ([[1, 2], [1, 2]], 2),
    "one has a newer one": ([[1, 2, 3], [1, 2]], 2),
    "the other has": ([[1, 2], [1, 2, 3]], 2),
    "one has removed the oldest": ([[2, 3], [1, 2, 3]], 3),
    "one has begun the next": ([[2, 3, 4], [2, 3]], 3),
    "none yet": ([[], []], None),
    "the first is not whole": ([[1], []], None),
    "one rank's disk is lost": ([[1, 2], []], BrokenFile),
    "no state in common": ([[3, 4], [1, 2]], BrokenFile),
    "three ranks": ([[1, 2, 3], [2, 3], [2]], 2),
}


@pytest.mark.parametrize("case", LAID)
def test_ranks_go_on_from_the_newest_that_all_have(tmp_path: Path, case: str) -> None:
    numbers, wanted = LAID[case]
    laid(tmp_path, numbers)

    def go_on(ranks: Any) -> int | None:
        points = Savepoints(tmp_path, ranks=ranks)
        found = steps_of(points.load())
        assert points.save(state(50))
        return found

    found = together(go_on, len(numbers))
    if isinstance(wanted, type):
        assert kinds(found) == [wanted] * len(found)
        assert "rank 1 has" in str(found[0])
        return
    assert found == [wanted] * len(numbers)
    again = together(lambda ranks: steps_of(Savepoints(tmp_path, ranks=ranks).load()), len(numbers))
    assert again == [50] * len(numbers)
    highest = max([0, *(number for mine in numbers for number in mine)])
    assert states(tmp_path)[-1].startswith(f"savepoint-{highest + 1:06}"), "a number is used twice"
    kept = 1 if wanted is None else 2
    assert len(states(tmp_path)) == kept * len(numbers), "what not all have is removed"


@pytest.mark.parametrize("rank", [0, 1])
def test_ranks_may_be_killed_again_and_again_in_their_first_state(tmp_path: Path, rank: int) -> None:
    """What one of them has begun is not taken for a state that the others have lost."""
    for number in (1, 2, 3):
        savepoints.seal(state(number), tmp_path / file_of(rank, 2, number))
        assert together(lambda ranks: Savepoints(tmp_path, ranks=ranks).load()) == [None, None]
    assert names(tmp_path) == []


@pytest.mark.filterwarnings("ignore::niwaki.errors.Damaged")
def test_what_is_damaged_on_one_rank_no_rank_uses(tmp_path: Path) -> None:
    laid(tmp_path, [[4, 5], [4, 5]])
    cut(tmp_path / "savepoint-000005.rank-00001-of-00002.pt")
    assert together(lambda ranks: steps_of(Savepoints(tmp_path, ranks=ranks).load())) == [4, 4]
    cut(tmp_path / "savepoint-000004.rank-00000-of-00002.pt")
    found = together(lambda ranks: Savepoints(tmp_path, ranks=ranks).load())
    assert kinds(found) == [BrokenFile, BrokenFile]


def test_a_state_that_one_rank_cannot_write_is_saved_by_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    laid(tmp_path, [[1], [1]])
    real = savepoints.seal

    def sealed(told: Any, path: Path) -> None:
        if "rank-00001" in path.name and told["steps"] == 2:
            raise CannotWrite("full")
        real(told, path)

    monkeypatch.setattr(savepoints, "seal", sealed)

    def go_on(ranks: Any) -> list[bool]:
        points = Savepoints(tmp_path, ranks=ranks)
        points.load()
        first = points.save(state(2))
        assert not points._files.path(2).exists(), "it takes the room that others lack"
        return [first, points.save(state(3))]

    with warnings.catch_warnings():  # of threads, they cannot be counted
        warnings.simplefilter("ignore", NotSaved)
        assert together(go_on) == [[False, True], [False, True]]
    assert states(tmp_path) == [file_of(rank, 2, number) for number in (1, 3) for rank in (0, 1)]


@pytest.mark.parametrize("own", [True, False], ids=["disks of their own", "one disk"])
@pytest.mark.parametrize(("keep", "steps"), [(1, (1, 2, 3, 4, 5)), (2, (1,))])
def test_a_disk_that_was_lost_is_told_and_nothing_removed(
    tmp_path: Path, own: bool, keep: int, steps: tuple[int, ...]
) -> None:
    assert together(trained(*steps, keep=keep)(tmp_path, own)) == [None, None]
    assert together(trained()(tmp_path, own)) == [steps[-1]] * 2
    for path in tmp_path.rglob("*rank-00001*"):
        path.unlink()
    before = sorted(tmp_path.rglob("*"))
    found = together(trained()(tmp_path, own))
    assert kinds(found) == [BrokenFile, BrokenFile], found
    assert "rank 1 has none" in str(found[0])
    assert sorted(tmp_path.rglob("*")) == before

    def cleared(ranks: Any) -> int | None:
        points = Savepoints(tmp_path / str(ranks.rank) if own else tmp_path, ranks=ranks)
        points.clear()
        assert not list(points.folder.glob("savepoint-*")), "of any rank"
        assert points.load() is None
        return points.save(state(7))

    assert together(cleared) == [True, True]
    assert together(trained()(tmp_path, own)) == [7, 7]


def test_ranks_that_changed_places_are_told(tmp_path: Path) -> None:
    """Each with a disk of its own, they would find nothing and begin anew."""
    assert together(trained(1, 2, 3)(tmp_path)) == [None, None]
    found = together(trained()(tmp_path, places=(1, 0)))
    assert kinds(found) == [BadInput, BadInput]
    assert "those of rank 0 lie where rank 1 is now; those of rank 1 lie where rank 0 is now" in str(found[0])
    assert together(trained()(tmp_path)) == [3, 3]
    assert together(lambda ranks: Savepoints(tmp_path / str(1 - ranks.rank), ranks=ranks).clear()) == [None, None]
    assert not list(tmp_path.rglob("*rank*"))


def test_states_of_two_runs_are_not_mixed(tmp_path: Path) -> None:
    """A disk comes back that was away while the others began anew."""
    assert together(trained(1, 2)(tmp_path)) == [None, None]
    (tmp_path / "1").rename(tmp_path / "away")
    together(lambda ranks: Savepoints(tmp_path / str(ranks.rank), ranks=ranks).clear())
    assert together(trained(11, 12)(tmp_path)) == [None, None]
    shutil.rmtree(tmp_path / "1")
    (tmp_path / "away").rename(tmp_path / "1")
    found = together(trained()(tmp_path))
    assert kinds(found) == [BrokenFile, BrokenFile]
    assert "are of 2 runs" in str(found[0])


def test_what_is_wrong_on_one_rank_stops_all(tmp_path: Path) -> None:
    def wrong(ranks: Any) -> bool:
        points = Savepoints(tmp_path, ranks=ranks)
        assert points.save(state(1))
        with pytest.raises((BadInput, RankFailed), match="more than tensors and plain data"):
            points.save({"best": tmp_path if ranks.rank else None})
        return points.save(state(2))

    assert together(wrong) == [True, True]
    assert together(trained()(tmp_path, own=False)) == [2, 2]


def test_another_number_of_ranks_is_told(tmp_path: Path) -> None:
    laid(tmp_path, [[1], [1]])
    with pytest.raises(BadInput, match="were written by 2 ranks, and here are 1"):
        Savepoints(tmp_path).load()
    with pytest.raises(BadInput, match="were written by 2 ranks, and here are 1"):
        Savepoints(tmp_path).save(state(1))
    points = Savepoints(tmp_path)
    points.clear()
    assert points.save(state(1))
    assert names(tmp_path) == ["savepoint-000001.pt"]


# -- a run --------------------------------------------------------------------------------------------------------


def test_a_run_goes_on_bit_for_bit(tmp_path: Path) -> None:
    def begun() -> tuple[torch.nn.Module, torch.optim.Optimizer, nk.Pruning]:
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        method = nk.methods.greg1(nk.Ratio(0.5), grow=0.5, every=1, hold=1)
        return model, optimizer, nk.Pruning(model, optimizer, method, torch.zeros(1, 4))

    def train(until: int, folder: Path) -> torch.nn.Module:
        model, optimizer, run = begun()
        points = nk.Savepoints(folder)
        found = points.load()
        if found is not None:
            run.load_state_dict(found["run"])
            model.load_state_dict(found["model"])
            optimizer.load_state_dict(found["optimizer"])
        while run.steps < until:
            optimizer.zero_grad()
            x = torch.randn(5, 4, generator=torch.Generator().manual_seed(run.steps))
            model(x).square().sum().backward()
            run.step()
            told = {"run": run.state_dict(), "model": model.state_dict(), "optimizer": optimizer.state_dict()}
            points.save(told)
        return model

    whole = train(8, tmp_path / "whole")
    for stop in (1, 3, 5):
        train(stop, tmp_path / str(stop))
        again = train(8, tmp_path / str(stop))
        assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))
