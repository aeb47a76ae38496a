"""From a pruned model to what serves it: ONNX and torch.export, each ready to be compared with the model."""

from niwaki.export.onnx_format import onnx, onnx_session
from niwaki.export.torch_format import torch_export

__all__ = ["onnx", "onnx_session", "torch_export"]
