"""What every rank runs: all cases of some tables, each to a verdict, written to a file of its own.

python -m torch.distributed.run --standalone --nproc-per-node N world.py TABLE,TABLE FOLDER
"""

from __future__ import annotations

import json
import sys
import traceback
import warnings
from datetime import timedelta
from importlib import import_module
from pathlib import Path

import torch.distributed as dist

from niwaki.bench.scale.leaving import leave


def main(tables: str, folder: str) -> None:
    warnings.simplefilter("error")
    rooms = [import_module(f"tests.distributed.{table}") for table in tables.split(",")]
    dist.init_process_group("gloo", timeout=timedelta(seconds=40))
    verdicts: dict[str, str] = {}
    cases = {name: case for room in rooms for name, case in room.cases(Path(folder)).items()}
    for name, case in cases.items():
        try:
            case()
            verdicts[name] = ""
        except Exception:
            verdicts[name] = traceback.format_exc()
        Path(folder, f"{dist.get_rank()}.json").write_text(json.dumps(verdicts), encoding="utf-8")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
    leave()
