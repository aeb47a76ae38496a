"""The ``config`` of a Hugging Face model after a cut: stock code builds a model from it, and the weights must fit.

Nothing here knows a family of models, and nothing imports ``transformers``: what has a config that turns into a dict,
and is built from it, is treated alike.
"""

from niwaki.surgery.hugging.describe import how_it_loads, note
from niwaki.surgery.hugging.folder import write_configs
from niwaki.surgery.hugging.follow import Following, follow_config, untold
from niwaki.surgery.hugging.rebuild import is_configured

__all__ = ["Following", "follow_config", "how_it_loads", "is_configured", "note", "untold", "write_configs"]
