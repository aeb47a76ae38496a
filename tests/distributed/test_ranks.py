"""Any number of processes, the same result. Each launch starts ranks once and lets them run a whole table of cases."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from tests.distributed import methods_table

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not dist.is_gloo_available(), reason="this torch has no gloo")


def launch(table: str, ranks: int, folder: Path) -> dict[str, str]:
    """Run a table on so many ranks; every case's verdict, empty where it holds on all of them."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    command += [str(ROOT / "tests" / "distributed" / "world.py"), table, str(folder)]
    path = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    told = subprocess.run(
        command,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    verdicts: dict[str, str] = {}
    for rank in range(ranks):
        file = folder / f"{rank}.json"
        assert file.exists(), told.stderr
        for case, verdict in json.loads(file.read_text(encoding="utf-8")).items():
            verdicts[case] = verdicts.get(case, "") + (f"rank {rank}: {verdict}" if verdict else "")
    assert told.returncode == 0, told.stderr
    return verdicts


def failures(verdicts: dict[str, str]) -> dict[str, str]:
    return {case: verdict for case, verdict in verdicts.items() if verdict}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process leaves, in a file."""
    folder = tmp_path_factory.mktemp("alone")
    methods_table.alone(folder)
    return folder


@pytest.mark.parametrize("ranks", [2, 4])
def test_every_method_ends_as_in_one_process(ranks: int, alone: Path, tmp_path: Path) -> None:
    torch.save(torch.load(alone / "alone.pt", weights_only=True), tmp_path / "alone.pt")
    verdicts = launch("methods_table", ranks, tmp_path)
    assert failures(verdicts) == {}
    assert len(verdicts) > 40
