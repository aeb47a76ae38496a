"""From a pruned model to what serves it: ONNX, torch.export, OpenVINO, each ready to be compared with the model."""

from niwaki.export.onnx_format import onnx, onnx_session
from niwaki.export.opening import Opened, files_of, opened
from niwaki.export.openvino_format import openvino, openvino_session
from niwaki.export.samples import Sample, samples
from niwaki.export.torch_format import program_devices, torch_export, torch_session
from niwaki.export.varying import Dynamic

__all__ = [
    "Dynamic",
    "Opened",
    "Sample",
    "files_of",
    "onnx",
    "onnx_session",
    "opened",
    "openvino",
    "openvino_session",
    "program_devices",
    "samples",
    "torch_export",
    "torch_session",
]
