"""Any number of processes, the same result. Each launch starts ranks once and lets them run a whole table of cases."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch.distributed as dist

from tests.distributed import methods_table

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not dist.is_gloo_available(), reason="this torch has no gloo")


def launch(tables: str, ranks: int, folder: Path, bytecode: Path) -> dict[str, str]:
    """Run tables on so many ranks; every case's verdict, empty where it holds on all of them."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    command += [str(ROOT / "tests" / "distributed" / "world.py"), tables, str(folder)]
    here = {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])}
    # Many processes import torch: they compile it once.
    here |= {"PYTHONPYCACHEPREFIX": str(bytecode), "PYTHONDONTWRITEBYTECODE": ""}
    told = subprocess.run(command, env={**os.environ, **here}, capture_output=True, text=True, check=False, timeout=900)
    verdicts: dict[str, str] = {}
    for rank in range(ranks):
        file = folder / f"{rank}.json"
        assert file.exists(), told.stderr
        for case, verdict in json.loads(file.read_text(encoding="utf-8")).items():
            verdicts[case] = verdicts.get(case, "") + (f"rank {rank}: {verdict}" if verdict else "")
    assert told.returncode == 0, told.stderr
    return verdicts


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process leaves, in a file."""
    folder = tmp_path_factory.mktemp("alone")
    methods_table.alone(folder)
    return folder


@pytest.fixture(scope="module")
def bytecode(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bytecode")


@pytest.mark.parametrize(("ranks", "least"), [(2, 110), (4, 60)])
def test_any_number_of_processes_gives_the_same(
    ranks: int, least: int, alone: Path, bytecode: Path, tmp_path: Path
) -> None:
    shutil.copy(alone / "alone.pt", tmp_path)
    verdicts = launch("methods_table,cutting_table,faults_table", ranks, tmp_path, bytecode)
    failures = "\n".join(f"{case}: {verdict}" for case, verdict in verdicts.items() if verdict)
    assert not failures, failures
    assert len(verdicts) >= least
