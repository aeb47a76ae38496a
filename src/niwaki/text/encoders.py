"""Encoders with a fresh head for a task, from a local folder or from a config alone."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from niwaki.errors import BadInput, require_extra
from niwaki.text.heads import in_head, names_of, take_order


def classifier(folder: str | os.PathLike[str], classes: int | Sequence[str], seed: int = 0) -> nn.Module:
    """The encoder in a local folder, with a head for a task: the folder's own head if it fits, or else a fresh one.

    Where both name their classes, the folder's head is taken by their names (in capitals or not): one that has them in
    another order is put into the order asked for. Of one with other names the log tells, and it is taken as it is.

    Args:
        folder: of Hugging Face's form: config.json, and weights in safetensors. Nothing is downloaded, and no code in
            it is run.
        classes: how many there are, or their names; one, or no names, for scores.
        seed: of what the folder has no weights for.

    Raises:
        BadInput: no such folder; no weights in safetensors; a head of other classes, some of them the same at other
            places; weights missing elsewhere than in the head. MissingExtra: transformers is not installed.
    """
    auto, _ = _transformers()
    own = _config(folder)
    config = _headed(own, classes)
    with quiet(), _seeded(seed):
        try:
            model, told = pretrained(auto, folder, config=config)
        except OSError as error:
            raise BadInput(
                f"{folder} holds no weights in safetensors ({error}). Other forms can run code when they are read; "
                "convert them once with save_pretrained."
            ) from error
        except RuntimeError as error:
            raise BadInput(
                f"The weights in {folder} do not fit a model with {config.num_labels} outputs; has it a head for other "
                f"classes? ({error})"
            ) from error
    _require_whole(folder, told["missing_keys"])
    take_order(folder, model, names_of(own), told["missing_keys"])
    return model


def untrained(config: Any, classes: int | Sequence[str], seed: int = 0) -> nn.Module:
    """The same with random weights throughout.

    Args:
        config: of transformers, or a folder with a config.json. classes, seed: as for `classifier`.

    Raises:
        BadInput: no such folder. MissingExtra: transformers is not installed.
    """
    auto, _ = _transformers()
    config = _headed(_config(config) if isinstance(config, str | os.PathLike) else config, classes)
    with quiet(), _seeded(seed):
        return auto.from_config(config)


def pretrained(auto: Any, folder: str | os.PathLike[str], **more: Any) -> tuple[nn.Module, dict[str, Any]]:
    """What a class of transformers reads from a local folder, in float32, and what it tells of it. Nothing is
    downloaded, no code is run, nothing but safetensors is read."""
    found: tuple[nn.Module, dict[str, Any]] = auto.from_pretrained(
        str(folder),
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        dtype=torch.float32,
        output_loading_info=True,
        **more,
    )
    return found


def _config(folder: str | os.PathLike[str]) -> Any:
    _, auto = _transformers()
    if not Path(folder, "config.json").is_file():
        raise BadInput(f"{folder} has no config.json; name a local folder that save_pretrained has written.")
    try:
        return auto.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(f"{folder}/config.json cannot be read ({error}).") from error


def _headed(config: Any, classes: int | Sequence[str]) -> Any:
    """The config, with the outputs that are asked for; the user's own is left as it is."""
    names = [f"LABEL_{k}" for k in range(classes)] if isinstance(classes, int) else list(classes)
    names = names or ["score"]
    config = type(config).from_dict(config.to_dict())
    config.id2label = dict(enumerate(names))
    config.label2id = {name: k for k, name in enumerate(names)}
    config.problem_type = "regression" if len(names) == 1 else "single_label_classification"
    return config


def _require_whole(folder: str | os.PathLike[str], missing: Sequence[str]) -> None:
    """Only a head may be fresh: an encoder with random layers would train, and be bad."""
    strays = sorted(name for name in missing if not in_head(name))
    if strays:
        more = f" and {len(strays) - 3} more" if len(strays) > 3 else ""
        raise BadInput(f"The weights in {folder} lack {', '.join(strays[:3])}{more}; is it whole, and of this family?")


def _transformers() -> tuple[Any, Any]:
    try:
        from transformers import AutoConfig, AutoModelForSequenceClassification
    except ImportError:
        raise require_extra("transformers", "hf") from None
    return AutoModelForSequenceClassification, AutoConfig


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Random numbers of this seed; those of the process go on afterwards as if nothing had been drawn."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@contextmanager
def quiet() -> Iterator[None]:
    """That a head is fresh needs no telling: it was asked for. What else is missing becomes an error."""
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


__all__ = ["classifier", "pretrained", "quiet", "untrained"]
