"""What the files of a folder are called, and what each is for."""

from __future__ import annotations

from types import MappingProxyType

CERTIFICATE, ENVIRONMENT, MEASUREMENTS = "certificate.json", "environment.json", "measurements.json"
RECIPE, CARD = "recipe.yaml", "README.md"

EXPORTED = MappingProxyType({"onnx": "model.onnx", "torch_export": "model.pt2", "openvino": "model.xml"})
"""Of each format of exports, its file."""

PURPOSES = MappingProxyType(
    {
        "model.safetensors": "the weights",
        "plan.json": "which units went, of which tensors; shrinks a dense model of the class",
        "packing.json": "how zeros were packed, layer by layer",
        "modules.json": "whole numbers of the modules, for `load.py`",
        "load.py": "loads the model where niwaki is not installed",
        "config.json": "the config of transformers",
        "generation_config.json": "how transformers generates text with it",
        EXPORTED["onnx"]: "for ONNX Runtime",
        EXPORTED["torch_export"]: "a program of torch.export",
        EXPORTED["openvino"]: "for OpenVINO",
        "model.bin": "the weights of `model.xml`",
        CERTIFICATE: "what was compared, and how far it differed",
        MEASUREMENTS: "sizes, work, memory, latency, before and after",
        ENVIRONMENT: "versions, processor, date",
        "examples.safetensors": "inputs, and what the model answers to them",
        "examples.json": "how to call it with these inputs",
        RECIPE: "what was asked for",
        "record.jsonl": "what happened in training, event by event",
    }
)


__all__ = ["CARD", "CERTIFICATE", "ENVIRONMENT", "EXPORTED", "MEASUREMENTS", "PURPOSES", "RECIPE"]
