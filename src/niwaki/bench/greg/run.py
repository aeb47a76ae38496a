"""A comparison: all jobs one after the other, until they are done or the time is up."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from niwaki.bench.greg import table
from niwaki.bench.greg.checkpoint import load_weights
from niwaki.bench.greg.contestants import CONTESTANTS
from niwaki.bench.greg.job import Base, Home, Job
from niwaki.bench.greg.keeping import TimeIsUp
from niwaki.bench.greg.rows import CLASSES, NETWORKS, Row
from niwaki.bench.greg.settings import PAPER, Settings, differences
from niwaki.errors import BadInput, nearest
from niwaki.recipes.progress import Teller
from niwaki.replacing import made, replacing

if TYPE_CHECKING:
    from niwaki.vision.images import Images


@dataclass(frozen=True)
class Order:
    """What is asked for. ``minutes``: stop then, and go on with the same command; None: until all is done.
    ``images``: use only so many training and test images (a trial; the results are not the comparison's).
    ``compiled``: train through ``torch.compile``."""

    rows: Sequence[Row]
    contestants: Sequence[str]
    seeds: int
    settings: Settings
    data: Path
    base: Path
    out: Path
    device: str = "cpu"
    minutes: float | None = None
    images: int | None = None
    compiled: bool = False

    def __post_init__(self) -> None:
        for name in self.contestants:
            if name not in CONTESTANTS:
                hint = nearest(name, CONTESTANTS) or "."
                raise BadInput(f"no contestant is called {name!r}{hint} Known: {', '.join(CONTESTANTS)}.")
        kinds = {(row.network, row.data) for row in self.rows}
        if len(kinds) != 1:
            raise BadInput(f"one run compares one network on one data set, not {sorted(kinds)}; name rows of one")


def compare(order: Order, teller: Teller | None = None) -> list[table.Line]:
    """Run what is left to run, write ``table.json`` and ``table.md``, and give the lines."""
    teller = teller or Teller()
    until = float("inf") if order.minutes is None else time.monotonic() + 60 * order.minutes
    home = Home(order.out, torch.device(order.device), _images(order, teller), until, compiled=order.compiled)
    base = _base(order, home, teller)
    changed = ", ".join(f"{name} {a:g} → {b:g}" for name, (a, b) in differences(order.settings, PAPER).items())
    teller.say(f"settings: {'as in the paper' if not changed else f'not as in the paper: {changed}'}")
    jobs = [
        Job(row, CONTESTANTS[name], seed, order.settings, base, home)
        for row in order.rows
        for seed in range(order.seeds)
        for name in order.contestants
    ]
    left = [job for job in jobs if job.done() is None]  # all are looked at before any is run
    for job in left:
        try:
            with teller.stage(job.name, job.total()) as tick:
                job.run(tick)
        except TimeIsUp:
            teller.say(f"the time is up in {job.name}; the same command goes on from there")
            break
    return _written(order)


def _written(order: Order) -> list[table.Line]:
    found = table.lines(table.read(order.out), order.rows, order.contestants)
    made(order.out)
    with replacing(order.out / "table.json") as part:
        part.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    with replacing(order.out / "table.md") as part:
        part.write_text(table.markdown(found), encoding="utf-8")
    return found


def _images(order: Order, teller: Teller) -> Images:
    from niwaki.vision.cifar import cifar10, cifar100

    read = {"cifar10": cifar10, "cifar100": cifar100}[order.rows[0].data]
    with teller.wait(f"read {order.data}"):
        found = read(order.data)
    if order.images is not None:
        n = order.images
        found = replace(
            found,
            train=found.train[:n],
            train_labels=found.train_labels[:n],
            test=found.test[:n],
            test_labels=found.test_labels[:n],
        )
    return found.to(order.device)


def _base(order: Order, home: Home, teller: Teller) -> Base:
    row = order.rows[0]
    model = NETWORKS[row.network](CLASSES[row.data])
    digest = load_weights(model, order.base)
    model = model.to(home.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with teller.wait(f"test the dense {row.network}"):
        accuracy = home.images.accuracy(model)
    teller.say(f"dense {row.network}: {100 * accuracy:.2f} % of {len(home.images.test)} images; sha256 {digest[:16]}…")
    return Base(model.eval(), accuracy, digest)


__all__ = ["Order", "compare"]
