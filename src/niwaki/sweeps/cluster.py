"""Trials on the machines of a Ray cluster.

Ray schedules, counts cores and GPUs, and begins a trial again elsewhere when its machine or its worker dies; it goes on
from its checkpoint there. Needed on every machine: this Python, with niwaki and all that the recipe imports, and the
folders of the sweep and of the recipe under the same paths.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from niwaki.errors import NiwakiError, require_extra
from niwaki.sweeps.ledger import Outcome, write_outcome
from niwaki.sweeps.local import Tick
from niwaki.sweeps.process import Processes
from niwaki.sweeps.schema import Cluster

_SECONDS = 1.0  # from one look at what is under way to the next
_CARRIED = ("NIWAKI_", "PYTHONPATH", "PYTHONHASHSEED", "HF_")  # of the environment, to other machines
_KEPT = ("TOKEN", "KEY", "SECRET", "PASSWORD")  # what has these in its name stays here


class OnCluster:
    """Tasks of a cluster, each with ``cluster.cpus`` cores and ``cluster.gpus`` GPUs, which start one process each."""

    def __init__(self, cluster: Cluster, threads: int) -> None:
        self.cluster, self.threads, self._ours = cluster, threads, False

    @property
    def workers(self) -> int:
        """How many trials the cluster carries at a time, as large as it is now."""
        there = self.reach().cluster_resources()
        wants = {"CPU": self.cluster.cpus, "GPU": self.cluster.gpus}
        fits = [there.get(name, 0.0) / amount for name, amount in wants.items() if amount]
        return max(1, int(min(fits, default=there.get("CPU", 1.0))))

    def reach(self) -> Any:
        """Connect, unless this process is connected.

        Raises:
            MissingExtra: there is no Ray here. NiwakiError: no cluster answers.
        """
        ray = _ray()
        if not ray.is_initialized():
            _connect(ray, self.cluster.address)
            self._ours = True
        return ray

    def __call__(self, folders: Sequence[Path], tick: Tick) -> Iterator[tuple[Path, Outcome]]:
        ray = self.reach()
        try:
            yield from self._run(ray, folders, tick)
        finally:
            if self._ours:
                ray.shutdown()

    def _run(self, ray: Any, folders: Sequence[Path], tick: Tick) -> Iterator[tuple[Path, Outcome]]:
        wants = {"num_cpus": self.cluster.cpus, "num_gpus": self.cluster.gpus, "max_retries": self.cluster.retries}
        task = ray.remote(**wants)(_carry_out)
        there = {key: value for key, value in os.environ.items() if _travels(key)}
        left = {task.remote(str(folder.resolve()), self.threads, there): folder for folder in folders}
        try:
            while left:
                done, _ = ray.wait(list(left), num_returns=1, timeout=_SECONDS)
                tick()
                for one in done:
                    folder = left.pop(one)
                    yield folder, _result(ray, one, folder)
        finally:
            for one in left:
                ray.cancel(one, force=True)


def _travels(name: str) -> bool:
    return name.startswith(_CARRIED) and not any(word in name.upper() for word in _KEPT)


def _carry_out(folder: str, threads: int, environment: dict[str, str]) -> tuple[int, float, str]:
    """On a machine of the cluster: one trial."""
    outcome = Processes().run(Path(folder), threads, environment)
    assert outcome is not None
    return outcome.exit, outcome.seconds, outcome.said


def _result(ray: Any, task: Any, folder: Path) -> Outcome:
    """How a trial ended; one whose worker died once too often has failed, too, and nobody else has noted it."""
    try:
        return Outcome(*ray.get(task))
    except ray.exceptions.RayError as trouble:
        lost = Outcome(1, 0.0, f"Ray gave it up: {' '.join(str(trouble).split())[:400]}")
        write_outcome(folder, lost)
        return lost


def _connect(ray: Any, address: str) -> None:
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, ValueError, RuntimeError) as trouble:
        raise NiwakiError(
            f"no Ray cluster answers at {address!r} ({' '.join(str(trouble).split())[:200]}); start one with "
            "ray start --head, or leave --ray out"
        ) from trouble


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise require_extra("ray", "ray") from None
    return ray


__all__ = ["OnCluster"]
