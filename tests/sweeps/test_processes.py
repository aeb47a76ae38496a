"""The processes of trials: what each is given, what is left of one that dies, and that none outlives its sweep."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from niwaki.place import DEVICE
from niwaki.recipes.standing import RUN
from niwaki.sweeps import Sweep, process
from niwaki.sweeps.gpus import VISIBLE, gpus
from niwaki.sweeps.ledger import LOG, Ledger, Outcome, Status, read_json, status_of, write_status
from niwaki.sweeps.local import Local, workers_for
from niwaki.sweeps.process import Processes, ended, tail
from niwaki.sweeps.run import runner_for
from niwaki.sweeps.trial import ABANDONED, REFUSED, Telling
from tests.recipes.kitchen import GREG
from tests.sweeps.plots import Here, planted, swept, told
from tests.sweeps.test_run import networks

needs_proc = pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at /proc")
PATIENCE = 900.0  # seconds: a machine may be very busy


def script(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Let Python run this in place of a trial; the folder is ``sys.argv[3]``."""
    monkeypatch.setenv("REAL_PYTHON", sys.executable)
    monkeypatch.setattr(sys, "executable", str(Path(__file__).with_name("stand_in.sh")))
    monkeypatch.setenv("STAND_IN", code)


def folders(tmp_path: Path, count: int) -> list[Path]:
    made = [tmp_path / f"t{i}" for i in range(count)]
    for one in made:
        one.mkdir()
    return made


def test_a_crash_is_told_with_its_end_and_costs_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(monkeypatch, """
import os, sys
name = sys.argv[3][-2:]
print("begun"); sys.stdout.flush()
if name == "t1": os.kill(os.getpid(), 9)
if name == "t2": sys.exit("niwaki: the loss is nan")
print(os.environ["OMP_NUM_THREADS"], os.environ["MKL_NUM_THREADS"])
""")  # fmt: skip
    made = folders(tmp_path, 4)
    found = dict(Local(2, 3)(made, lambda: None))
    assert [found[one].exit for one in made] == [0, -9, 1, 0]
    assert [found[one].said for one in made] == ["", "begun", "the loss is nan", ""]
    assert (made[3] / LOG).read_text() == "begun\n3 3\n"
    assert [read_json(one / "outcome.json") and found[one].failed for one in made] == [False, True, True, False]


def test_what_is_stopped_leaves_no_outcome_and_starts_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(monkeypatch, "import time, sys; open(sys.argv[3] + '/up', 'w'); time.sleep(600)")
    made, seen = folders(tmp_path, 3), []

    def tick() -> None:
        if all((one / "up").exists() for one in made[:2]):
            seen.append(1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(Local(2, 1)(made, tick))
    assert seen == [1]
    assert [(one / "outcome.json").exists() for one in made] == [False] * 3
    assert not (made[2] / "up").exists()


GRANDCHILD = """
import subprocess, sys, time
from pathlib import Path
child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)", PLACE])
Path(PLACE, "up").write_text("")
"""


@needs_proc
@pytest.mark.parametrize("end", ["time.sleep(600)", "sys.exit(3)"], ids=["stopped", "failed"])
def test_what_a_trial_has_started_ends_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    script(monkeypatch, f"PLACE = {str(tmp_path)!r}{GRANDCHILD}{end}".replace("sys.executable", repr(sys.executable)))
    processes = Processes()
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(processes.run, tmp_path, 1, {})
        wait_for((tmp_path / "up").exists)
        if "sleep" in end:
            processes.stop()
        outcome = run.result(PATIENCE)
    assert (None if outcome is None else outcome.exit) == (None if "sleep" in end else 3)
    wait_for(lambda: not alive(str(tmp_path)))


@needs_proc
def test_what_a_trial_has_started_ends_with_its_sweep(tmp_path: Path) -> None:
    code = f"PLACE = {str(tmp_path)!r}{GRANDCHILD}from niwaki.sweeps import trial; trial._end_with_whoever_waits()"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, start_new_session=True)
    wait_for((tmp_path / "up").exists)
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(PATIENCE) == -signal.SIGKILL
    wait_for(lambda: not alive(str(tmp_path)))


def test_the_end_of_an_earlier_attempt_is_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / LOG).write_text("niwaki: the loss is nan\n")
    script(monkeypatch, "import os; os.kill(os.getpid(), 9)")
    outcome = Processes().run(tmp_path, 1, {})
    assert outcome is not None
    assert (outcome.exit, outcome.said) == (-9, "")


def test_files_beside_the_user_do_not_take_the_place_of_python_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token.py").write_text("raise SystemExit('in the place of token')")
    monkeypatch.chdir(tmp_path)
    outcome = Processes().run(tmp_path, 1, {})
    assert outcome is not None
    assert (outcome.exit, outcome.said) == (REFUSED, f"{tmp_path} holds no trial.json; a sweep writes it")


def test_after_a_stop_nothing_starts(tmp_path: Path) -> None:
    processes = Processes()
    processes.stop()
    assert processes.run(tmp_path, 1, {}) is None


def test_words_for_an_end(tmp_path: Path) -> None:
    assert [ended(0), ended(2), ended(-9), ended(-999)] == [
        "exit status 0", "exit status 2", "killed by SIGKILL", "killed by signal 999"
    ]  # fmt: skip
    assert tail(tmp_path / "none") == ""
    (tmp_path / "log").write_text("a\n\nb\n" + "".join(f"{i}\n" for i in range(9)))
    assert tail(tmp_path / "log") == "3\n4\n5\n6\n7\n8"
    assert tail(tmp_path / "log", (tmp_path / "log").stat().st_size - 4) == "7\n8"
    (tmp_path / "log").write_text("x" * 9999)
    assert len(tail(tmp_path / "log")) == 2000
    (tmp_path / "log").write_text("niwaki: " + "x" * 9999)
    assert len(tail(tmp_path / "log")) == 2000


def test_so_many_trials_run_as_the_cores_carry_and_no_more_than_one_on_each_gpu() -> None:
    assert workers_for(1) >= workers_for(2) >= workers_for(10_000) == 1
    assert workers_for(1, 1) == 1
    assert workers_for(1, 10_000) == workers_for(1)  # the cores must carry them all the same


def test_each_trial_has_a_place_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(monkeypatch, "import os; print(os.environ['CUDA_VISIBLE_DEVICES'])")
    made = folders(tmp_path, 2)
    list(Local(2, 1, [{VISIBLE: "4"}, {VISIBLE: "7"}])(made, lambda: None))
    assert sorted((one / LOG).read_text() for one in made) == ["4\n", "7\n"]


@pytest.mark.parametrize(
    ("count", "visible", "device", "found"),
    [
        (0, None, None, ()),
        (2, None, None, ("0", "1")),
        (2, "3,5", None, ("3", "5")),
        (1, "3, nothing", None, ("3",)),
        (2, None, "cuda", ("0", "1")),
        (2, None, "cpu", ()),
        (2, "3,5", "cuda:1", ("5",)),
        (2, None, "cuda:9", ()),
    ],
)
def test_trials_share_out_the_gpus_that_are_theirs(
    count: int,
    visible: str | None,
    device: str | None,
    found: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    for name, value in ((VISIBLE, visible), (DEVICE, device)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert gpus() == found
    runner = runner_for(Sweep.load(planted(tmp_path)))
    assert isinstance(runner, Local)
    more = {DEVICE: "cuda"} if device and found else {}
    assert list(runner.places) == ([{VISIBLE: one, **more} for one in found] or [{}])
    assert runner.workers == min(len(found) or workers_for(1), workers_for(1))
    assert runner_for(Sweep.load(planted(tmp_path, workers=3))).workers == 3  # type: ignore[attr-defined]


def test_a_trial_tells_how_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("niwaki.sweeps.trial._SECONDS", 0.0)
    teller = Telling(quiet=True, folder=tmp_path)
    assert status_of(tmp_path) == Status("waits", 0, None, "")
    with teller.wait("trace"):
        assert status_of(tmp_path) == Status("trace")
    with teller.stage("tune", 4, 1) as advance:
        assert status_of(tmp_path) == Status("tune", 1, 4)
        advance("loss 2")
        assert status_of(tmp_path) == Status("tune", 2, 4, "loss 2")
    (tmp_path / "status.json").write_text("{")
    assert status_of(tmp_path) == Status()
    write_status(tmp_path, Status("x"))


def start(path: Path, **environment: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "niwaki", "sweep", str(path), "--workers", "1"]
    given = {**os.environ, **environment, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=given)


def wait_for(condition: Any) -> None:
    since = time.monotonic()
    while not condition():
        assert time.monotonic() - since < PATIENCE
        time.sleep(0.05)


def alive(words: str) -> list[int]:
    """Processes with this in their command line."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            said = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            state = (place / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if words in said and state != "Z":
            found.append(int(place.name))
    return found


@needs_proc
def test_a_killed_sweep_leaves_no_process_and_goes_on_bit_for_bit(tmp_path: Path) -> None:
    """kill -9 of the whole sweep while its first trial trains; then the same command to the end. The same sweep, never
    disturbed and in this process, gives the same networks and records."""
    greg = {key: value for key, value in GREG.items() if key != "target"} | {"hold": 40}
    recipe = {"loss": "@slow", "finetune": {"epochs": 1}}
    path = planted(tmp_path / "killed", recipe, methods=[greg], seeds=2)
    ledger = Ledger(tmp_path / "killed" / "swept")
    sweep = start(path, KEEP_ALWAYS="1")
    wait_for(lambda: list(ledger.out.glob("trials/*seed0/greg1/progress-*.pt")))
    sweep.send_signal(signal.SIGKILL)
    sweep.wait(PATIENCE)
    assert sweep.stdout is not None
    sweep.stdout.close()
    wait_for(lambda: not alive(str(ledger.out)))
    assert not list(ledger.out.glob("trials/*/outcome.json"))
    assert list(ledger.out.glob(f"trials/*seed0/{RUN}"))
    assert list(ledger.out.glob("trials/*seed0/greg1/progress-*.pt"))

    again = start(path)
    said, _ = again.communicate(timeout=PATIENCE * 2)
    assert again.returncode == 0, said
    assert "report: " in said
    swept(planted(tmp_path / "whole", recipe, methods=[greg], seeds=2), Here())
    killed, whole = networks(tmp_path / "killed"), networks(tmp_path / "whole")
    assert len(killed) == 2
    assert killed == whole


def test_a_trial_that_is_killed_costs_only_itself_and_goes_on(tmp_path: Path) -> None:
    """The second seed ends itself by SIGKILL in its first training step; without the cause it is tried again."""
    path = planted(tmp_path / "one", {"loss": "@fatal", "finetune": {"epochs": 1}}, seeds=2)
    broken = start(path, KILL_SEED="2")  # the batches of fine-tuning are drawn by seed + 1
    said, _ = broken.communicate(timeout=PATIENCE * 2)
    assert broken.returncode == 1, said
    assert "niwaki: magnitude-ratio0.5-seed1 failed, killed by SIGKILL" in said
    assert "niwaki: 1 failed; --retry-failed tries them again" in said
    states = {trial["seed"]: trial["state"] for trial in told(tmp_path / "one")["trials"]}
    assert states == {0: "finished", 1: "failed"}
    found = swept(path, Local(1, 1), retry_failed=True)
    assert found.failed == {}
    swept(planted(tmp_path / "other", {"loss": "@fatal", "finetune": {"epochs": 1}}, seeds=2), Here())
    assert networks(tmp_path / "one") == networks(tmp_path / "other")


def test_a_trial_whose_sweep_is_gone_ends_itself(tmp_path: Path) -> None:
    path = planted(tmp_path, {"loss": "@slow", "finetune": {"epochs": 500}})
    here = Here(stop=0)
    with pytest.raises(KeyboardInterrupt):
        swept(path, here)
    (folder,) = (tmp_path / "swept" / "trials").iterdir()
    words = [sys.executable, "-m", "niwaki.sweeps.trial", str(folder)]
    with (folder / LOG).open("ab") as log:
        trial = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=log, stderr=log)
    wait_for(lambda: (folder / "status.json").exists())
    assert trial.stdin is not None
    trial.stdin.close()
    assert trial.wait(PATIENCE) == ABANDONED


def test_a_cluster_needs_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from niwaki.errors import MissingExtra
    from niwaki.sweeps.run import run

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"ray is not installed. Install it with: pip install 'niwaki\[ray\]'"):
        run(Sweep.load(planted(tmp_path, ray="auto")))


def test_outcomes_know_whether_they_failed() -> None:
    assert [Outcome(code, 1.0).failed for code in (0, 1, -9)] == [False, True, True]
    assert set(process._THREADS) >= {"OMP_NUM_THREADS", "MKL_NUM_THREADS"}


def test_what_waits_for_a_trial_loads_no_torch() -> None:
    """On a cluster one process waits for each trial: it must be small."""
    rooms = ", ".join(f"niwaki.sweeps.{name}" for name in ("process", "cluster", "live"))
    code = f"import sys, {rooms}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
