"""Random small networks, each held to "no crash, no difference".

A network is drawn as a :class:`Genome`, a value that prints in one line::

    from niwaki.testing import fuzz

    outcome = fuzz.attempt(fuzz.draw(17))
    if outcome.fault:
        print(fuzz.shrink(fuzz.draw(17), outcome))

Genes cover the operations that have rules and many that have none; some take sizes from the tensor and some have them
written in the code, because both are met in the wild: what cannot be followed must be blocked, and never wrong.
"""

from niwaki.testing.fuzz.build import Specimen, build
from niwaki.testing.fuzz.genome import Gene, Genome, draw
from niwaki.testing.fuzz.pool import HEADS, KINDS, STEMS
from niwaki.testing.fuzz.shrink import shrink
from niwaki.testing.fuzz.trial import Outcome, attempt

__all__ = ["HEADS", "KINDS", "STEMS", "Gene", "Genome", "Outcome", "Specimen", "attempt", "build", "draw", "shrink"]
