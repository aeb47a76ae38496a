"""The GPUs of this machine, dealt out to trials: two that share one wait for each other, or find no memory."""

from __future__ import annotations

import os
from collections.abc import Mapping

import torch

from niwaki.place import DEVICE

VISIBLE = "CUDA_VISIBLE_DEVICES"


def gpus() -> tuple[str, ...]:
    """Those that trials may compute on, as ``CUDA_VISIBLE_DEVICES`` names them: of those that it leaves, if it is set,
    the one that ``NIWAKI_DEVICE`` names, or all. None where that names the processor, or there is none."""
    kind, _, number = os.environ.get(DEVICE, "").partition(":")
    if kind not in ("", "cuda"):
        return ()
    count = torch.cuda.device_count()
    listed = [name.strip() for name in os.environ.get(VISIBLE, "").split(",") if name.strip()]
    names = tuple(listed or map(str, range(count)))[:count]
    return names if not number.isdecimal() else names[int(number) :][:1]


def alone_with(gpu: str) -> Mapping[str, str]:
    """The environment of a trial that sees this GPU and no other, as its first."""
    named = {DEVICE: "cuda"} if os.environ.get(DEVICE) else {}
    return {VISIBLE: gpu, **named}


__all__ = ["VISIBLE", "alone_with", "gpus"]
