"""A rank is killed, the launcher starts all of them again, and the weights are those of an undisturbed run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch.distributed as dist

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(not dist.is_gloo_available(), reason="this torch has no gloo")
def test_torchrun_goes_on_from_the_last_state_that_all_ranks_have(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["--max-restarts", "1", str(ROOT / "tests" / "distributed" / "restarting.py"), str(tmp_path)]
    here = {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])}
    told = subprocess.run(command, env={**os.environ, **here}, capture_output=True, text=True, check=False, timeout=400)
    assert told.returncode == 0, told.stderr
    found = {path.stem: json.loads(path.read_text()) for path in tmp_path.glob("*.json")}
    assert sorted(found) == ["killed.0", "killed.1", "whole.0", "whole.1"]
    assert len({weights for weights, _ in found.values()}) == 1
    assert [found[name][1] for name in sorted(found)] == [9, 9, 0, 0]
