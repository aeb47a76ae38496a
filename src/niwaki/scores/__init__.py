"""What is a unit worth? Each score is a frozen value; calling it on a group gives one number per unit."""

from niwaki.scores.base import SCORES, Score, watches
from niwaki.scores.magnitude import L1, L2
from niwaki.scores.movement import Movement
from niwaki.scores.random import Random

__all__ = ["L1", "L2", "SCORES", "Movement", "Random", "Score", "watches"]
