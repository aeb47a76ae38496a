"""The model of a folder, built without its weights: by its class in transformers, read from ``config.json``.

Only classes of transformers itself are taken, and of the config nothing that would fetch or run other code.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from niwaki.artefact.documents import read_object
from niwaki.errors import BrokenFile
from niwaki.surgery.hugging.stock import stock_class, without_code
from niwaki.surgery.store import CONFIG


def build_from_config(folder: Path) -> nn.Module:
    """The model that ``config.json`` describes, with random weights.

    Raises:
        BrokenFile: there is no such file, or it names no class of models that transformers has.
        MissingExtra: transformers is not installed.
    """
    config = read_object(folder / CONFIG)
    kind = transformers_class(folder / CONFIG, config)
    try:
        model: nn.Module = kind(kind.config_class.from_dict(without_code(config)))
    except Exception as trouble:  # whatever the class says to a config that it does not like
        raise BrokenFile(f"{folder / CONFIG}: {kind.__name__} cannot be built from it: {trouble}") from trouble
    return model.eval()


def transformers_class(path: Path, config: dict[str, Any]) -> Any:
    """The class of models that a config names."""
    named = config.get("architectures")
    if not isinstance(named, list) or len(named) != 1 or not str(named[0]).isidentifier():
        raise BrokenFile(f"{path} must name one class under 'architectures', found {named!r}")
    kind = stock_class(named[0])
    if kind is None:
        import transformers

        raise BrokenFile(f"{path} names {named[0]!r}, which is no model of transformers {transformers.__version__}")
    return kind


__all__ = ["build_from_config", "transformers_class"]
