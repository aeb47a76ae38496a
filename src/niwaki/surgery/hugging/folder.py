"""The config files beside the weights of a saved model."""

from __future__ import annotations

import copy
import json
import logging
import os
import tempfile
from pathlib import Path
from typing import Any

from torch import nn

from niwaki.replacing import told
from niwaki.surgery.hugging.describe import described, how_it_loads, put_note
from niwaki.surgery.hugging.rebuild import is_configured
from niwaki.units import Plan

logger = logging.getLogger("niwaki")


def write_configs(model: nn.Module, plan: Plan, folder: Path) -> None:
    """Write ``config.json``, and ``generation_config.json`` of a model that generates; each whole or not at all. With
    these the folder holds all that is needed to build the model again. The log tells what loads it.

    Of a model without a config, those that an older model of transformers left in the folder are removed.

    Args: plan: all that was cut.
    """
    if not is_configured(model):
        for name in ("config.json", "generation_config.json"):
            if _is_theirs(folder / name):
                (folder / name).unlink()
        return
    config: Any = copy.deepcopy(model.config)
    found = described(model, plan)
    put_note(config, found)
    logger.info("%s: %s", folder, "from_pretrained loads it." if found is None else how_it_loads(found))
    config.architectures = [type(model).__name__]
    if hasattr(config, "dtype") and hasattr(model, "dtype"):
        config.dtype = str(model.dtype).removeprefix("torch.")
    with told(folder / "config.json", folder), tempfile.TemporaryDirectory(dir=folder) as part:
        config.save_pretrained(part)
        generation = getattr(model, "generation_config", None)
        if generation is not None and getattr(model, "can_generate", lambda: False)():
            generation.save_pretrained(part)
        for file in Path(part).iterdir():
            os.replace(file, folder / file.name)


def _is_theirs(path: Path) -> bool:
    """Has transformers written it?"""
    try:
        return "transformers_version" in json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, RecursionError):
        return False


__all__ = ["write_configs"]
