"""What units do on data: their activations before the layers that take them, a batch and a block at a time."""

from niwaki.calibration.activity import Activity
from niwaki.calibration.batches import Source
from niwaki.calibration.blocks import Block
from niwaki.calibration.calibration import Calibration
from niwaki.calibration.sensitivity import Loss
from niwaki.calibration.statistics import reestimate

__all__ = ["Activity", "Block", "Calibration", "Loss", "Source", "reestimate"]
