"""Several processes on this machine, started by torchrun."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from niwaki.errors import NiwakiError


def launched(work: str, order: Mapping[str, Any], processes: int) -> list[Any]:
    """What every rank found, in their order. ``work``: one of ``rank.WORK``; ``order``: plain data.

    Raises:
        NiwakiError: a process failed; the end of what it said is in the message.
    """
    with tempfile.TemporaryDirectory() as folder:
        asked, found = Path(folder, "order.json"), Path(folder, "found.json")
        asked.write_text(json.dumps(order), encoding="utf-8")
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        command += ["-m", "niwaki.bench.scale.rank", work, str(asked), str(found)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace")
        if done.returncode or not found.is_file():
            said = "\n".join(done.stderr.splitlines()[-30:])
            raise NiwakiError(f"{processes} processes for {work} ended with status {done.returncode}:\n{said}")
        return list(json.loads(found.read_text(encoding="utf-8")))


__all__ = ["launched"]
