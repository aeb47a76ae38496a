"""A pruned model, loaded and run in a fresh process: nothing of this one can help it.

As a program: ``python -m niwaki.recipes.elsewhere MODEL MODEL_ARGS FOLDER EXCHANGE PATH…`` builds the recipe's model,
loads FOLDER into it, runs it on the tensors in EXCHANGE/inputs.safetensors and leaves what it gives in EXCHANGE.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from niwaki.errors import NiwakiError
from niwaki.surgery.comparing import outputs_of

_PLACES, _NAMES = "positional-", "keyword-"


class Elsewhere(nn.Module):
    """Stands in for a saved model: each call loads and runs it in a new Python process, on as many threads as here.

    Args:
        model: the recipe's ``module:function``. settings: its arguments. folder: what was saved.
        places: folders to import from.
    """

    def __init__(self, model: str, settings: Mapping[str, Any], folder: Path, places: Sequence[Path]) -> None:
        super().__init__()
        self.job = [model, json.dumps(dict(settings)), str(folder.resolve())]
        self.places = [str(p) for p in places]

    def forward(self, *args: Tensor, **kwargs: Tensor) -> list[Tensor]:
        from safetensors.torch import load_file, save_file

        named = {f"{_PLACES}{k:03}": t for k, t in enumerate(args)} | {_NAMES + k: t for k, t in kwargs.items()}
        with tempfile.TemporaryDirectory() as exchange:
            save_file({k: _alone(t) for k, t in named.items()}, f"{exchange}/inputs.safetensors")
            Path(exchange, "threads").write_text(str(torch.get_num_threads()))
            program = [sys.executable, "-m", "niwaki.recipes.elsewhere", *self.job, exchange, *self.places]
            done = subprocess.run(program, capture_output=True, text=True, check=False)
            if done.returncode:
                last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
                raise NiwakiError(f"the saved model does not load in a fresh process: {last}")
            found = load_file(f"{exchange}/outputs.safetensors")
        return [found[name] for name in sorted(found)]


def can_travel(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Are the inputs nothing but tensors on the CPU, so that a file can carry them?"""
    values = [*args, *kwargs.values()]
    return all(isinstance(v, Tensor) and v.device.type == "cpu" for v in values)


def main(model: str, settings: str, folder: str, exchange: str, *places: str) -> None:
    """What the fresh process does."""
    from safetensors.torch import load_file, save_file

    from niwaki.recipes.ingredients import build_model
    from niwaki.surgery.store import load

    sys.path[:0] = places
    torch.set_num_threads(int(Path(exchange, "threads").read_text()))
    small = load(folder, build_model(model, json.loads(settings))).eval()
    named = load_file(f"{exchange}/inputs.safetensors")
    args = [named[k] for k in sorted(named) if k.startswith(_PLACES)]
    kwargs = {k.removeprefix(_NAMES): t for k, t in named.items() if k.startswith(_NAMES)}
    with torch.no_grad():
        outputs = [_alone(t) for t in outputs_of(small(*args, **kwargs))]
    save_file({f"{k:03}": t for k, t in enumerate(outputs)}, f"{exchange}/outputs.safetensors")


def _alone(tensor: Tensor) -> Tensor:
    """In memory of its own, as safetensors wants it."""
    return tensor.detach().clone(memory_format=torch.contiguous_format)


if __name__ == "__main__":
    main(*sys.argv[1:])
