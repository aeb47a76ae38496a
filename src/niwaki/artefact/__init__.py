"""A folder that describes itself: the model, what was measured, what was proven, examples of its answers, a card, and
the hash of every file; and the check of all that, anywhere."""

from niwaki.artefact.deliver import Story, deliver, describe
from niwaki.artefact.measurements import Measured, Measurements
from niwaki.artefact.verdict import Finding, Verdict
from niwaki.artefact.verify import verify

__all__ = ["Finding", "Measured", "Measurements", "Story", "Verdict", "deliver", "describe", "verify"]
