"""What every rank runs under a launcher that starts ranks again: a run undisturbed, then one that is killed.

python -m torch.distributed.run --standalone --nproc-per-node 2 --max-restarts 1 restarting.py FOLDER
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

import niwaki as nk
from niwaki.bench.scale.leaving import leave

STEPS, FATAL, EVERY = 16, 11, 3


def train(folder: Path, killed: bool) -> tuple[str, int]:
    """A hash of the weights, and from which step it went on."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 2))
    model = nn.parallel.DistributedDataParallel(net)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, foreach=False)
    run = nk.Pruning(model, optimizer, nk.methods.greg1(nk.Ratio(0.5), grow=0.3, every=1, hold=2), torch.zeros(1, 8))
    points = nk.Savepoints(folder)
    found = points.load()
    if found is not None:
        run.load_state_dict(found["run"])
        model.load_state_dict(found["model"])
        optimizer.load_state_dict(found["optimizer"])
    start = run.steps
    while run.steps < STEPS:
        draw = torch.Generator().manual_seed(2 * run.steps + dist.get_rank())
        optimizer.zero_grad()
        model(torch.randn(4, 8, generator=draw)).square().sum().backward()
        run.step()
        if killed and run.steps == FATAL and dist.get_rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if run.steps % EVERY == 0:
            points.save({"run": run.state_dict(), "model": model.state_dict(), "optimizer": optimizer.state_dict()})
    assert run.finished
    return hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in model.parameters())).hexdigest(), start


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    attempt = os.environ["TORCHELASTIC_RESTART_COUNT"]
    # The launcher's store outlives a start: unmarked, a rank may read there where one that was killed had listened.
    store, rank, size = next(dist.rendezvous("env://"))
    dist.init_process_group("gloo", store=dist.PrefixStore(f"attempt {attempt}", store), rank=rank, world_size=size)
    first = attempt == "0"
    for name in ("whole", "killed"):
        path = folder / f"{name}.{dist.get_rank()}.json"
        if not path.exists():
            path.write_text(json.dumps(train(folder / name, killed=first and name == "killed")), encoding="utf-8")
        dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    leave()
