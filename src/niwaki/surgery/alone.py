"""This network without niwaki: load() makes of the dense network, of any weights, the pruned one.

from load import load
model = load(MyNetwork())
"""

import copy
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file


def load(model: torch.nn.Module, folder: Path = Path(__file__).parent) -> torch.nn.Module:
    """Shrink ``model`` in place to the tensors beside this file, set the numbers of its modules, and return it."""
    plan = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    modules, index = dict(model.named_modules(remove_duplicate=False)), folder / "model.safetensors.index.json"
    shards = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values() if index.is_file() else ()
    files = [folder / Path(name).name for name in sorted({*shards} or {"model.safetensors"})]
    tensors = {name: tensor for file in files for name, tensor in load_file(file).items()}
    for name, shape in plan["tensors"].items():
        place, _, leaf = name.rpartition(".")
        old = getattr(modules[place], leaf)
        if list(old.shape) != shape:
            raise ValueError(f"{name} has shape {list(old.shape)}, the network that was pruned had {shape}")
        if name not in tensors and leaf not in modules[place]._non_persistent_buffers_set:
            raise ValueError(f"{name} is in none of {', '.join(file.name for file in files)}")
        new = tensors[name] if name in tensors else _cut(old, name, plan)
        new = new if old.is_meta else new.to(old.device)
        new = torch.nn.Parameter(new, old.requires_grad) if isinstance(old, torch.nn.Parameter) else new
        for each in [name, *(other for other, first in plan["aliases"].items() if first == name)]:
            place, _, leaf = each.rpartition(".")
            setattr(modules[place], leaf, new)
    for name, numbers in json.loads((folder / "modules.json").read_text(encoding="utf-8")).items():
        for key, value in numbers.items():
            module: Any = modules[name]
            if key.startswith("config."):  # many modules share a config: this one gets its own
                module = module.config = copy.copy(module.config)
            setattr(module, key.removeprefix("config."), tuple(value) if isinstance(value, list) else value)
    return model.eval()


def _cut(tensor: torch.Tensor, name: str, plan: dict[str, Any]) -> torch.Tensor:
    """A table that the class computes itself, and that is in no file."""
    for row in plan["removed"]:
        if row["tensor"] == name:
            gone = set(row["indices"])
            kept = [i for i in range(tensor.shape[row["dim"]]) if i not in gone]
            tensor = tensor.index_select(row["dim"], torch.tensor(kept, device=tensor.device))
    return tensor
