"""The laws that a pruned model, an op rule or a method must keep. Each is a function that raises :class:`LawBroken`.

Hold your own model to them::

    from niwaki.testing import laws

    laws.cut_equals_masked(model, inputs)
    laws.dead_units_are_free(model, inputs)
    laws.model_is_untouched(model, inputs)
    laws.resumes_bit_for_bit(laws.exercise(build, make_inputs), method, steps=100)
"""

from niwaki.testing.laws.coupling import blocked_are_untouched, claims_hold
from niwaki.testing.laws.disk import plan_round_trips, plans_round_trip
from niwaki.testing.laws.exercise import Exercise, Make, exercise, momentum
from niwaki.testing.laws.folders import folder_loads, uneven_plan
from niwaki.testing.laws.lesson import Circumstances
from niwaki.testing.laws.optimizers import optimizer_follows, optimizer_is_refused
from niwaki.testing.laws.sameness import cut_equals_masked, dead_units_are_free, uneven_cuts_equal_masked
from niwaki.testing.laws.targets import reaches_target
from niwaki.testing.laws.trainers import same_in_every_trainer
from niwaki.testing.laws.training import deterministic, resumes_bit_for_bit
from niwaki.testing.laws.untouched import model_is_untouched
from niwaki.testing.laws.verdict import LawBroken

__all__ = [
    "Circumstances",
    "Exercise",
    "LawBroken",
    "Make",
    "blocked_are_untouched",
    "claims_hold",
    "cut_equals_masked",
    "dead_units_are_free",
    "deterministic",
    "exercise",
    "folder_loads",
    "model_is_untouched",
    "momentum",
    "optimizer_follows",
    "optimizer_is_refused",
    "plan_round_trips",
    "plans_round_trip",
    "reaches_target",
    "resumes_bit_for_bit",
    "same_in_every_trainer",
    "uneven_cuts_equal_masked",
    "uneven_plan",
]
