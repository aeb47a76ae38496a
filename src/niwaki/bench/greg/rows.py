"""What is compared: a network, a data set, what goes, and what the paper printed for it (GReg, Tables 1 and 2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from torch import nn

from niwaki.errors import BadInput, nearest
from niwaki.targets import Ratio


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        name: as on the command line.
        network: a key of ``NETWORKS``. data: ``"cifar10"`` or ``"cifar100"``.
        removed: share of the units removed, by pattern of group names.
        speedup: of multiply-adds, as the paper printed it; None for rows that the paper has not.
        printed: accuracy that the paper printed in percent, by contestant, and of its dense network (``"dense"``).
    """

    name: str
    network: str
    data: str
    removed: Mapping[str, float]
    speedup: float | None = None
    printed: Mapping[str, float] = field(default_factory=dict)

    @property
    def target(self) -> Ratio:
        """What the methods are asked for."""
        return Ratio(self.removed)


def _resnet(depth: int) -> Callable[[int], nn.Module]:
    def build(classes: int) -> nn.Module:
        from niwaki.vision.resnet_cifar import resnet

        return resnet(depth, classes)

    return build


def _vgg19(classes: int) -> nn.Module:
    from niwaki.vision.vgg_cifar import vgg19

    return vgg19(classes)


NETWORKS: dict[str, Callable[[int], nn.Module]] = {
    **{f"resnet{depth}": _resnet(depth) for depth in (20, 32, 44, 56, 110)},
    "vgg19": _vgg19,
}
CLASSES = {"cifar10": 10, "cifar100": 100}


def _stages(*shares: float) -> dict[str, float]:
    """The first convolution of every block, by stage; the streams stay whole, as in the paper."""
    return {f"layer{k}.*.conv1": share for k, share in enumerate(shares, start=1)}


_RESNET56 = {
    0.5: (1.99, 92.97, 93.06),
    0.7: (3.59, 91.88, 92.23),
    0.9: (11.41, 87.34, 89.49),
    0.925: (14.76, 87.31, 88.39),
    0.95: (19.31, 82.79, 85.97),
}
_VGG19 = {
    0.5: (3.60, 71.49, 71.50),
    0.6: (5.41, 70.27, 70.33),
    0.7: (8.84, 66.05, 67.35),
    0.8: (17.30, 61.59, 63.55),
    0.9: (44.22, 51.36, 57.09),
}

ROWS: tuple[Row, ...] = (
    *(Row(f"resnet20-{r}", "resnet20", "cifar10", _stages(r, r, r)) for r in (0.5, 0.7, 0.9)),
    *(
        Row(
            f"resnet56-{r}",
            "resnet56",
            "cifar10",
            _stages(r, r, r),
            speedup,
            {"dense": 93.36, "l1": one_shot, "greg1": greg1},
        )
        for r, (speedup, one_shot, greg1) in _RESNET56.items()
    ),
    Row(
        "resnet56-2.55x",
        "resnet56",
        "cifar10",
        _stages(0.75, 0.75, 0.32),
        2.55,
        {"dense": 93.36, "greg1": 93.18, "greg2": 93.36},
    ),
    *(
        Row(
            f"vgg19-{r}",
            "vgg19",
            "cifar100",
            # All convolutions but the first.
            {"features.0": 0.0, "features.*": r},
            speedup,
            {"dense": 74.02, "l1": one_shot, "greg1": greg1, **({"greg2": 67.75} if r == 0.7 else {})},
        )
        for r, (speedup, one_shot, greg1) in _VGG19.items()
    ),
)


def rows_like(patterns: tuple[str, ...]) -> list[Row]:
    """The rows whose names match one of the glob patterns, in the order of the table.

    Raises:
        BadInput: a pattern matches none.
    """
    names = [row.name for row in ROWS]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            hint = nearest(pattern, dict.fromkeys(names)) or "."
            raise BadInput(f"no row is called {pattern!r}{hint} Known: {', '.join(names)}.")
    return [row for row in ROWS if any(fnmatchcase(row.name, pattern) for pattern in patterns)]


__all__ = ["CLASSES", "NETWORKS", "ROWS", "Row", "rows_like"]
