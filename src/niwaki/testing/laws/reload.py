"""The other side of the round trip: run by :mod:`niwaki.testing.laws.disk` in a process of its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from niwaki.surgery.store import load
from niwaki.testing.laws.disk import ANSWERS, INPUTS, build
from niwaki.testing.laws.exercise import scramble
from niwaki.testing.laws.sameness import answers


def main(cases: str) -> None:
    """Load every model that was saved, and write down its answers."""
    for builder, folder in json.loads(Path(cases).read_text(encoding="utf-8")).items():
        place = Path(folder)
        dense = build(builder)
        scramble(dense)
        small = load(place / "small", dense)
        inputs = torch.load(place / INPUTS, weights_only=True)
        torch.save(answers(small, inputs), place / f"loaded-{ANSWERS}")


if __name__ == "__main__":
    main(sys.argv[1])
