"""Families whose code is in ``transformers``: named by their public class, imported when first built."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

from torch import nn

from niwaki.testing.families.family import Family, words
from niwaki.testing.families.feeds import Feed
from niwaki.testing.families.planting import on_meta, planted

Settings = dict[str, Any]


def hugging(
    name: str,
    model: str,
    tags: str,
    kinds: str,
    tiny: Settings,
    inputs: Feed,
    real: Settings,
    real_inputs: Feed,
    note: str = "",
) -> Family:
    """Make a family of a public class of ``transformers`` and two settings of its configuration."""
    return Family(
        name,
        words(f"{tags} needs_transformers"),
        words(kinds),
        planted(partial(configured, model, tiny)),
        inputs,
        on_meta(partial(configured, model, real)),
        real_inputs,
        note,
    )


def configured(model: str, settings: Settings) -> nn.Module:
    """Build the class ``model`` of ``transformers`` with random weights: nothing is fetched."""
    import transformers

    kind = getattr(transformers, model)
    return kind(kind.config_class(**copy.deepcopy(settings)))
