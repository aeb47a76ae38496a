"""A sweep on a Ray cluster beside the same sweep in local processes: the same networks, though a worker dies.

    python bench/sweep_ray.py [--out DIR]

A cluster of one machine with two cores is started by `ray start --head --block`, and the sweep goes to it by its
address. One worker is killed by SIGKILL while its trial trains; Ray begins that trial again, and it goes on or starts
anew. Needs the extra ray.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from ledger import keep

SWEEP = Path(__file__).parents[1] / "recipes" / "sweep-fashion.yaml"
SMALL = {
    "methods": ["magnitude", {"name": "greg1", "every": 1, "hold": 50, "grow": 2e-2}],
    "targets": [{"macs": 0.3, "round_to": 8}],
    "seeds": 2,
    "set": {"model_args.epochs": 0, "finetune.epochs": 1, "measure.runs": 0, "evaluate_args": {"half": 1}},
    "dense": {"model_args.epochs": 1},
    "choose_by": None,
    "choose_args": None,
}  # four trials


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="runs/bench-sweep-ray")
    out = Path(parser.parse_args().out).resolve()
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    path = out / "sweep.yaml"
    asked = {**yaml.safe_load(SWEEP.read_text()), **SMALL, "recipe": str(SWEEP.with_name("fashion.yaml"))}
    path.write_text(yaml.safe_dump({key: value for key, value in asked.items() if value is not None}))
    local = sweep(path, out / "local", "--workers", "2")
    shutil.copytree(out / "local", out / "cluster", ignore=shutil.ignore_patterns("trials", "sweep.json", "lock"))
    since = time.perf_counter()
    killed: list[str] = []
    with cluster(2) as address:
        started = time.perf_counter() - since
        on_cluster = sweep(path, out / "cluster", "--ray", address, watch=lambda: kill_one(out / "cluster", killed))
    here, there = networks(out / "local"), networks(out / "cluster")
    figures = {
        "trials": len(here),
        "same_networks_bit_for_bit": sum(there.get(name) == value for name, value in here.items()),
        "workers_killed": len(killed),
        "trials_lost": len(set(here) - set(there)),
        "seconds_local_2_processes": round(local),
        "seconds_cluster_2_cores": round(on_cluster),
        "seconds_to_start_the_cluster": round(started),
    }
    keep("sweep_ray", figures, {"killed_while_it_trained": killed, "networks": here, "on_the_cluster": there})


def sweep(path: Path, out: Path, *words: str, watch: object = None) -> float:
    """Run it to its end; its seconds."""
    since = time.perf_counter()
    command = [sys.executable, "-m", "niwaki", "sweep", str(path), "--out", str(out), *words]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    while process.poll() is None:
        time.sleep(0.2)
        if callable(watch):
            watch()
    if process.returncode:
        sys.exit(f"the sweep ended with status {process.returncode}")
    return time.perf_counter() - since


def kill_one(out: Path, killed: list[str]) -> None:
    """Once: the worker of Ray whose trial has begun to train."""
    if killed:
        return
    for status in sorted(out.glob("trials/greg1*/status.json")):
        found = json.loads(status.read_text())
        if found["stage"].endswith("prune") and found["done"] > 0:
            parent = parent_of(status.parent)
            if parent is not None:
                os.kill(parent, signal.SIGKILL)
                killed.append(status.parent.name)
                return


def parent_of(folder: Path) -> int | None:
    """The process that started the trial of this folder."""
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes().split(b"\0")
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if b"niwaki.sweeps.trial" in words and str(folder).encode() in words:
            return parent
    return None


@contextmanager
def cluster(cores: int, port: int = 6399) -> Iterator[str]:
    """Inside, a cluster of this machine; gives its address. Its workers are as nice as any process (Ray's default, 15,
    would have them wait for all else that the machine does)."""
    words = [f"--num-cpus={cores}", f"--port={port}", "--include-dashboard=false", "--block"]
    program = Path(sys.executable).with_name("ray")
    there = {**os.environ, "RAY_worker_niceness": "0"}
    head = subprocess.Popen([str(program), "start", "--head", *words], stdout=subprocess.DEVNULL, env=there)
    try:
        while head.poll() is None and not listens(port):
            time.sleep(0.5)
        yield f"127.0.0.1:{port}"
    finally:
        head.terminate()
        head.wait()


def listens(port: int) -> bool:
    """Does anybody answer there?"""
    with socket.socket() as door:
        return door.connect_ex(("127.0.0.1", port)) == 0


def networks(out: Path) -> dict[str, str]:
    """The SHA-256 of every trial's network."""
    found = sorted(out.glob("trials/*/*/model.safetensors"))
    return {place.parts[-3]: hashlib.sha256(place.read_bytes()).hexdigest() for place in found}


if __name__ == "__main__":
    main()
