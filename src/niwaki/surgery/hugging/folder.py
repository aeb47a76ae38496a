"""The config files beside the weights of a saved model."""

from __future__ import annotations

import copy
import os
import tempfile
from pathlib import Path
from typing import Any

from torch import nn

from niwaki.surgery.hugging.rebuild import is_configured


def write_configs(model: nn.Module, folder: Path) -> None:
    """Write ``config.json``, and ``generation_config.json`` of a model that generates; each whole or not at all. With
    these the folder holds all that is needed to build the model again."""
    if not is_configured(model):
        return
    config: Any = copy.deepcopy(model.config)
    config.architectures = [type(model).__name__]
    if hasattr(config, "dtype") and hasattr(model, "dtype"):
        config.dtype = str(model.dtype).removeprefix("torch.")
    with tempfile.TemporaryDirectory(dir=folder) as part:
        config.save_pretrained(part)
        generation = getattr(model, "generation_config", None)
        if generation is not None and getattr(model, "can_generate", lambda: False)():
            generation.save_pretrained(part)
        for file in Path(part).iterdir():
            os.replace(file, folder / file.name)


__all__ = ["write_configs"]
