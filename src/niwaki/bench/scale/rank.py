"""What each process runs.   python -m torch.distributed.run … -m niwaki.bench.scale.rank WORK ORDER.json FOUND.json"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing.errors import record

from niwaki.bench.scale import curves, steps
from niwaki.bench.scale.leaving import leave
from niwaki.ranks import Ranks

WORK = {"steps": steps.work, "curves": curves.work}


@record  # so that torchrun tells what a process failed of
def main(work: str, order: str, out: str) -> None:
    """Do it on one thread; the first rank writes what all have found."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    ranks = Ranks(dist.group.WORLD)
    found = WORK[work](json.loads(Path(order).read_text(encoding="utf-8")), ranks)
    every = ranks.texts(json.dumps(found))
    if ranks.rank == 0:
        Path(out).write_text(f"[{','.join(every)}]", encoding="utf-8")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
    leave()
