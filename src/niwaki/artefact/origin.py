"""Where a pruned model comes from: its class, what builds the dense one, the model that it was before."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from niwaki.surgery.cut import shapes_of
from niwaki.surgery.hugging import is_configured
from niwaki.surgery.hugging.rebuild import rebuilt

_NAMED = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")


@dataclass(frozen=True)
class Origin:
    """What a folder says of the model's class and past.

    Attributes:
        kind: name of the class. library: ``"transformers"`` or ``"pytorch"``. plain: stock code of transformers builds
            the small model from the config alone. function: ``module:function`` of the dense model, and its
            ``arguments``. base_model, license: for the card.
    """

    kind: str
    library: str = "pytorch"
    plain: bool = False
    function: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    base_model: str = ""
    license: str = ""

    @staticmethod
    def of(
        small: nn.Module,
        function: str = "",
        arguments: Mapping[str, Any] | None = None,
        base_model: str = "",
        license: str = "",
    ) -> Origin:
        """The origin of a pruned model. Its base model is by default the name in its config."""
        stock = is_configured(small) and type(small).__module__.startswith("transformers.")
        return Origin(
            type(small).__name__, "transformers" if stock else "pytorch", stock and _is_plain(small), function,
            arguments or {}, base_model or _base_model(small), license,
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        built = {"function": self.function, "arguments": dict(self.arguments)} if self.function else {}
        return {"class": self.kind, "library": self.library, **built}


def _is_plain(small: nn.Module) -> bool:
    """Does the class, built from the config, have the sizes of the cut model?"""
    try:
        return shapes_of(rebuilt(type(small), small.config)) == shapes_of(small)
    except Exception:  # whatever the class says to such a config
        return False


def _base_model(small: nn.Module) -> str:
    """A name such as people give models; a folder of this machine is none."""
    name = str(getattr(getattr(small, "config", None), "_name_or_path", "") or "")
    return name if _NAMED.fullmatch(name) and not Path(name).exists() else ""


__all__ = ["Origin"]
