"""Numbers that modules keep beside their tensors and that must follow a cut (``out_channels``, ``groups``, …).

An adapter is a function ``(module, change)`` that sets them; register one for your own class::

    @nk.adapter(MyLayer)
    def my_layer(module, change):
        module.width = module.weight.shape[0]

A class may be given by its full name, which imports nothing. The adapter runs after the tensors were cut; ``change``
tells which indices of the module's own tensors went.
"""

from niwaki.surgery.modules import attention, layers, recurrent
from niwaki.surgery.modules.attention import readable
from niwaki.surgery.modules.table import ADAPTERS, Adapter, Change, adapter, follow, followers, surround

__all__ = [
    "ADAPTERS",
    "Adapter",
    "Change",
    "adapter",
    "attention",
    "follow",
    "followers",
    "layers",
    "readable",
    "recurrent",
    "surround",
]
