"""Classes of models that transformers itself has, and configs without anything that would fetch or run other code."""

from __future__ import annotations

from typing import Any

from niwaki.errors import require_extra

_CODE = ("auto_map", "custom_pipelines", "quantization_config")
_CODE_ENDS = ("_implementation",)  # kernels may be named there, which are fetched


def stock_class(name: Any) -> Any:
    """The class of models of this name; None if transformers has none.

    Raises:
        MissingExtra: transformers is not installed.
    """
    try:
        import transformers
    except ImportError:
        raise require_extra("transformers", "hf") from None
    kind: Any = getattr(transformers, name, None) if isinstance(name, str) and name.isidentifier() else None
    ours = isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel)
    return kind if ours and kind.__module__.startswith("transformers.") and kind.config_class is not None else None


def without_code(value: Any) -> Any:
    """A config, or a part of it, with plain values alone."""
    if isinstance(value, dict):
        return {k: without_code(v) for k, v in value.items() if k not in _CODE and not k.endswith(_CODE_ENDS)}
    return [without_code(item) for item in value] if isinstance(value, list) else value


__all__ = ["stock_class", "without_code"]
