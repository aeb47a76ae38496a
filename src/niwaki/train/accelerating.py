"""Checkpoints of Accelerate that take a run along."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from niwaki.train.checkpoints import read, write
from niwaki.train.engine import Pruning


def accelerate_checkpoints(accelerator: Any, run: Pruning) -> None:
    """Let ``accelerator.save_state`` write the state of ``run``, and ``accelerator.load_state`` read it *before* the
    weights, so that those of a model that was cut fit the dense one.

    (``accelerator.register_for_checkpointing(run)`` works for a run whose model has not been cut; Accelerate reads what
    is registered there last, and as a pickle.)

    Save to a new folder each time: :func:`niwaki.last_checkpoint` finds the newest that is whole. Of the weights'
    files it does not know how large they must be, since Accelerate writes them after the run.

    Args:
        accelerator: an ``accelerate.Accelerator``. run: on the model that it prepared.
    """

    def save(models: Any, weights: Any, folder: str) -> None:
        # The weights come after this; the generators' states are what Accelerate writes last.
        write(run, Path(folder), {"random_states_0.pkl": -1})

    def load(models: Any, folder: str) -> None:
        run.load_state_dict(read(Path(folder), run.ranks))

    accelerator.register_save_state_pre_hook(save)
    accelerator.register_load_state_pre_hook(load)


__all__ = ["accelerate_checkpoints"]
