"""What ``from_pretrained`` of transformers asks when a config says ``quant_method: niwaki``: nothing is quantized, but
the hook comes at the right moment. The model is built and has no weights yet, and no remote code is needed.

Imported by :func:`niwaki.after_import.after_import` alone, when transformers is there.
"""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers.quantizers import auto
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from niwaki.errors import BadInput
from niwaki.surgery.hugging.describe import saves_all
from niwaki.surgery.hugging.resize import after_loading, before_loading, fitted
from niwaki.surgery.hugging.uneven import METHOD, Uneven


class NiwakiConfig(QuantizationConfigMixin):
    """The ``quantization_config`` of a cut model, checked as it is read."""

    quant_method: Any = METHOD

    def __init__(self, **said: Any) -> None:
        self.uneven = Uneven.from_json({"quant_method": METHOD, **said})

    def to_dict(self) -> dict[str, Any]:
        return self.uneven.to_json()


class NiwakiQuantizer(HfQuantizer):
    """Gives the tensors of a fresh dense model the sizes of the cut one, and its modules the numbers."""

    quantization_config: NiwakiConfig

    def validate_environment(self, *args: Any, **kwargs: Any) -> None:
        if not self.pre_quantized:
            raise BadInput(
                "niwaki's quantization_config tells of a model that is cut already, and comes with its config.json; it "
                "cannot be given to from_pretrained for a dense model. Cut that with nk.prune."
            )
        refused = self.quantization_config.uneven.refused
        if refused:
            raise BadInput(f"from_pretrained cannot load this cut model: {refused}. Load the folder with nk.load.")

    def _process_model_before_weight_loading(self, model: nn.Module, **kwargs: Any) -> nn.Module:
        self._fitted = fitted(self.quantization_config.uneven, model)
        before_loading(self._fitted, model)
        return model

    def _process_model_after_weight_loading(self, model: Any, **kwargs: Any) -> nn.Module:
        """What is left is an ordinary model: it may be cast, compiled and trained. Its config goes on telling."""
        after_loading(self._fitted, model)
        model.is_quantized = False
        for name in ("hf_quantizer", "quantization_method"):
            if name in vars(model):
                delattr(model, name)
        for module in model.modules():
            if hasattr(getattr(module, "config", None), "_is_quantized"):
                module.config._is_quantized = False
        model.config.quantization_config = self.quantization_config.to_dict()
        saves_all(model)
        return model

    def is_serializable(self, *args: Any, **kwargs: Any) -> bool:
        return True

    @property
    def is_trainable(self) -> bool:
        return True

    @property
    def is_qat_trainable(self) -> bool:
        return True

    @property
    def is_compileable(self) -> bool:
        return True


def register() -> None:
    """Enter the registry of transformers, where there is one and niwaki is not in it yet."""
    if not hasattr(auto, "register_quantizer") or not hasattr(auto, "register_quantization_config"):
        return
    if METHOD not in auto.AUTO_QUANTIZATION_CONFIG_MAPPING:
        auto.register_quantization_config(METHOD)(NiwakiConfig)
    if METHOD not in auto.AUTO_QUANTIZER_MAPPING:
        auto.register_quantizer(METHOD)(NiwakiQuantizer)


__all__ = ["NiwakiConfig", "NiwakiQuantizer", "register"]
