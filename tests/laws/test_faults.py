"""Laws that never fail prove nothing: each is shown a fault, and must say so."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import niwaki as nk
from niwaki.errors import UnreachableTarget
from niwaki.graph import Graph, rules
from niwaki.graph.rules import norms
from niwaki.surgery import certify, cut, decide, states, store
from niwaki.surgery import optimizer as follower
from niwaki.testing import laws
from niwaki.testing.laws import LawBroken, disk, sameness, untouched
from niwaki.testing.zoo import specimen
from niwaki.tracing import trace
from niwaki.train.engine import Pruning
from niwaki.units import Axis, Plan
from tests.laws.table import METHODS, OPTIMIZERS, Preconditioned, work

Patch = pytest.MonkeyPatch
POOLED = specimen("vgg_pooled")


def traced(name: str, *, prove: bool = True) -> Graph:
    """A fresh graph: the faults here must not meet one that was traced before."""
    plant = specimen(name)
    return trace(plant.build(), plant.inputs(), prove=prove)


def hold_cut(name: str, *, prove: bool = True) -> None:
    graph = traced(name, prove=prove)
    laws.cut_equals_masked(graph.model, specimen(name).inputs(), graph=graph)


# -- cut equals masked ------------------------------------------------------------------------------------


@pytest.mark.parametrize("prove", [True, False])
def test_flip_that_passes_labels_through(monkeypatch: Patch, prove: bool) -> None:
    """Silently wrong: the dry run reads the cut model by the same wrong rule, so only the numbers can tell."""
    rules.find("flip")
    monkeypatch.setitem(rules.RULES, "flip", lambda call: call.like(call.tensors()[0]))
    assert "conv1" in {group.name for group in traced("flip", prove=prove).groups}
    with pytest.raises(LawBroken, match="DIFFERS FROM"):
        hold_cut("flip", prove=prove)


def forget_a_statistic(monkeypatch: Patch) -> None:
    honest = norms._follow

    def follow(call: Any, label: Any, names: Any) -> Any:
        return honest(call, label, [name for name in names if name != "running_var"])

    monkeypatch.setattr(norms, "_follow", follow)


def test_batch_norm_that_forgets_a_tie_is_caught_by_the_dry_run(monkeypatch: Patch) -> None:
    before = {group.name for group in traced("vgg_flatten").groups}
    forget_a_statistic(monkeypatch)
    assert {group.name for group in traced("vgg_flatten").groups} < before


def test_batch_norm_that_forgets_a_tie_is_caught_by_the_law(monkeypatch: Patch) -> None:
    forget_a_statistic(monkeypatch)
    with pytest.raises(LawBroken, match=r"cutting units .* failed"):
        hold_cut("vgg_flatten", prove=False)


def keep_the_wrong_end(monkeypatch: Patch) -> None:
    """Cut the mirror images of what should go, in every tensor alike: shapes fit, the model runs."""
    honest = cut.select

    def select(t: Tensor, dims: Mapping[int, tuple[int, ...]]) -> Tensor:
        return honest(t, {dim: tuple(t.shape[dim] - 1 - i for i in gone) for dim, gone in dims.items()})

    monkeypatch.setattr(cut, "select", select)


def test_cut_that_keeps_the_wrong_indices(monkeypatch: Patch) -> None:
    keep_the_wrong_end(monkeypatch)
    with pytest.raises(LawBroken, match=r"nk\.cut holds other entries of 'conv1.weight'"):
        hold_cut("vgg_pooled")


def test_cut_that_keeps_the_wrong_indices_shows_in_the_answers(monkeypatch: Patch) -> None:
    """Each of the three ways is held by itself. (The certificate is silent here by its making: its twin takes the cut
    model's weights, so that a model that was trained after the cut can be certified.)"""
    keep_the_wrong_end(monkeypatch)
    monkeypatch.setattr(sameness, "_same_entries", lambda model, plan, small: None)
    monkeypatch.setattr(certify, "certify", lambda *args, **settings: HOLDS)
    with pytest.raises(LawBroken, match=r"nk\.cut and nk\.mask differ forward"):
        hold_cut("vgg_pooled")


HOLDS = certify.Certificate((certify.Check("cut", "masked", "forward", 0.0, 1.0),), "", {})


def spare(monkeypatch: Patch, spared: Callable[[Axis], bool]) -> None:
    """Let the certificate's twin keep what the plan removes along some axes."""
    honest = certify.expand

    def expand(dense: nn.Module, plan: Plan, small: nn.Module) -> nn.Module:
        twin = honest(dense, plan, small)
        whole = dict(dense.named_parameters())
        with torch.no_grad():
            for name, p in twin.named_parameters():
                if any(axis.name == name and spared(axis) for axis in plan.removed):
                    p.copy_(whole[name])
        return twin

    monkeypatch.setattr(certify, "expand", expand)


def test_certificate_that_does_not_zero_a_bias(monkeypatch: Patch) -> None:
    """The readers of the bias are masked too, so no answer moves: only entry by entry can it be seen."""
    spare(monkeypatch, lambda axis: axis.name.endswith("bias"))
    with pytest.raises(LawBroken, match=r"the certificate's twin holds other entries of 'conv1.bias'"):
        hold_cut("vgg_pooled")


def test_certificate_that_masks_neither_bias_nor_reader(monkeypatch: Patch) -> None:
    spare(monkeypatch, lambda axis: axis.name.endswith("bias") or axis.dim == 1)
    monkeypatch.setattr(sameness, "_same_entries", lambda model, plan, small: None)
    with pytest.raises(LawBroken, match="THE CERTIFICATE DOES NOT HOLD"):
        hold_cut("vgg_pooled")


def test_mask_that_forgets_a_tensor(monkeypatch: Patch) -> None:
    def lazy(model: nn.Module, plan: Plan) -> nn.Module:
        return honest(model, replace(plan, removed=dict(list(plan.removed.items())[1:])))

    honest = sameness.mask
    monkeypatch.setattr(sameness, "mask", lazy)
    with pytest.raises(LawBroken, match=r"nk\.mask holds other entries"):
        hold_cut("vgg_pooled")


def test_gradient_that_is_off(monkeypatch: Patch) -> None:
    honest = sameness.gradients

    def gradients(model: nn.Module, inputs: Any) -> dict[str, Tensor]:
        found = honest(model, inputs)
        scale = sum(p.numel() for p in model.parameters())
        return {name: value * scale for name, value in found.items()}

    monkeypatch.setattr(sameness, "gradients", gradients)
    with pytest.raises(LawBroken, match=r"gradients of nk\.cut and nk\.mask differ"):
        hold_cut("vgg_pooled")


def test_a_law_that_was_not_tried() -> None:
    with pytest.raises(LawBroken, match="the law was not tried"):
        laws.cut_equals_masked(POOLED.build(), POOLED.inputs(), ratios=(0.0,))


def test_dead_units_that_cost(monkeypatch: Patch) -> None:
    keep_the_wrong_end(monkeypatch)
    with pytest.raises(LawBroken, match="moved the answers"):
        laws.dead_units_are_free(POOLED.build(), POOLED.inputs())


# -- the graph --------------------------------------------------------------------------------------------


def test_plan_that_takes_what_is_blocked(monkeypatch: Patch) -> None:
    honest, graph = Graph.removed, traced("flip")
    monkeypatch.setattr(Graph, "removed", lambda self, chosen: {**honest(self, chosen), Axis("fc.weight", 0): (0,)})
    with pytest.raises(LawBroken, match=r"removes \[0\] of fc.weight\[0\], which is blocked"):
        laws.blocked_are_untouched(graph)


def test_plan_that_takes_less_than_its_groups_say(monkeypatch: Patch) -> None:
    honest = Graph.removed
    graph = traced("vgg_pooled")
    monkeypatch.setattr(Graph, "removed", lambda self, chosen: dict(list(honest(self, chosen).items())[1:]))
    with pytest.raises(LawBroken, match="the groups' entries lose"):
        laws.blocked_are_untouched(graph)


def test_tie_that_is_claimed_and_gone(monkeypatch: Patch) -> None:
    forget_a_statistic(monkeypatch)
    with pytest.raises(LawBroken, match="must be prunable and is not"):
        laws.claims_hold(specimen("batch_norm_no_affine"))


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        ({"blocks": (("conv2.weight", 0),)}, "must be blocked and is offered"),
        ({"prunable": (("fc.weight", 0),)}, "must be prunable and is not"),
        ({"tied": ((("conv2.weight", 0), ("conv1.weight", 0)),)}, "must be in one group and are not"),
    ],
)
def test_claim_that_is_not_so(claim: dict[str, Any], message: str) -> None:
    with pytest.raises(LawBroken, match=message):
        laws.claims_hold(replace(specimen("flip"), **claim))


def test_claim_on_a_model_with_nothing_to_prune() -> None:
    class Single(nn.Linear):
        """One layer, held by the world at both ends."""

    lonely = replace(specimen("flip"), build=lambda: Single(3, 2), inputs=lambda: (torch.ones(2, 3),), tied=())
    with pytest.raises(LawBroken, match="the graph offers nothing at all"):
        laws.claims_hold(lonely)


# -- training ---------------------------------------------------------------------------------------------


def forget(monkeypatch: Patch, change: Callable[[dict[str, Any]], Any]) -> None:
    """Let every saved run state lose something (the law's own comparisons of the ends see the same)."""
    honest = Pruning.state_dict

    def state_dict(self: Pruning) -> dict[str, Any]:
        state = honest(self)
        change(state)
        return state

    monkeypatch.setattr(Pruning, "state_dict", state_dict)


def zero_the_counter(state: dict[str, Any]) -> None:
    if isinstance(state["state"].get("inner"), dict) and "step" in state["state"]["inner"]:
        state["state"]["inner"]["step"] = 0


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("greg1", zero_the_counter),
        ("greg1", lambda state: state.update(pressure={})),
        ("greg2", lambda state: state.update(kept_pressure={})),
        ("greg1", lambda state: state.update(chosen={})),
        ("greg1", lambda state: state.update(plans=[])),
        ("magnitude", lambda state: state.update(plans=[])),
        ("imp", lambda state: state.update(zeroed={})),
        ("imp", lambda state: state.update(remembered={})),
        ("movement", lambda state: state.update(moved={})),
    ],
    ids=[
        "counter",
        "pressure",
        "kept pressure",
        "chosen",
        "plans",
        "magnitude's plans",
        "zeros",
        "copy",
        "movement",
    ],
)
def test_state_that_forgets(monkeypatch: Patch, name: str, change: Callable[[dict[str, Any]], Any]) -> None:
    method, steps = METHODS[name]
    forget(monkeypatch, change)
    with pytest.raises(LawBroken, match=r"ends otherwise|resuming .* failed"):
        laws.resumes_bit_for_bit(work(POOLED), method, steps)


def test_state_that_forgets_a_mask(monkeypatch: Patch) -> None:
    """Behind a sigmoid: elsewhere a unit of zeros has no gradient, and stays what it is by itself."""

    def behind_a_sigmoid() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 8), nn.Sigmoid(), nn.Linear(8, 4))

    method, steps = METHODS["masked_then_cut"]
    make = laws.exercise(behind_a_sigmoid, lambda: torch.randn(4, 6, generator=torch.Generator().manual_seed(1)))
    assert laws.resumes_bit_for_bit(make, method, steps) is None
    forget(monkeypatch, lambda state: state.update(masked=None))
    with pytest.raises(LawBroken, match="ends otherwise"):
        laws.resumes_bit_for_bit(make, method, steps)


def test_a_run_that_does_not_finish() -> None:
    with pytest.raises(LawBroken, match="was not finished after 4 steps"):
        laws.resumes_bit_for_bit(work(POOLED), METHODS["greg1"][0], 4)


def draw_from_the_weather(monkeypatch: Patch) -> None:
    monkeypatch.setattr(nk.scores.Random, "__call__", lambda self, group, tensors: torch.rand(len(group)))


def test_score_that_draws_from_global_state(monkeypatch: Patch) -> None:
    draw_from_the_weather(monkeypatch)
    method = nk.methods.magnitude(nk.Ratio(0.4), score=nk.scores.Random())
    with pytest.raises(LawBroken, match="differ in global random state alone"):
        laws.deterministic(work(POOLED), method, 3)


# -- the optimizer ----------------------------------------------------------------------------------------


def take_the_first(t: Tensor, dims: Mapping[int, tuple[int, ...]]) -> Tensor:
    for dim, gone in dims.items():
        t = t.narrow(dim, 0, t.shape[dim] - len(gone))
    return t.clone()


@pytest.mark.parametrize("optimizer", ["momentum", "adam", "adamw", "rmsprop"])
@pytest.mark.parametrize("select", [take_the_first, lambda t, dims: t], ids=["the wrong entries", "all entries"])
def test_moments_that_do_not_follow(monkeypatch: Patch, optimizer: str, select: Callable[..., Tensor]) -> None:
    monkeypatch.setattr(follower, "select", select)
    with pytest.raises(LawBroken, match="is not the old one at the kept entries"):
        laws.optimizer_follows(work(POOLED), OPTIMIZERS[optimizer])


def test_optimizer_that_keeps_the_dead(monkeypatch: Patch) -> None:
    monkeypatch.setattr(follower, "follow", lambda optimizer, fresh, dims: 0)
    with pytest.raises(LawBroken, match="no longer trains"):
        laws.optimizer_follows(work(POOLED), OPTIMIZERS["momentum"])


def test_optimizer_that_loses_its_state(monkeypatch: Patch) -> None:
    honest = follower.follow

    def follow(optimizer: torch.optim.Optimizer, fresh: Any, dims: Any) -> int:
        count = honest(optimizer, fresh, dims)
        optimizer.state.clear()
        return count

    monkeypatch.setattr(follower, "follow", follow)
    with pytest.raises(LawBroken, match="state was lost"):
        laws.optimizer_follows(work(POOLED), OPTIMIZERS["adam"])


def sliced_alone(rows: Tensor, columns: Tensor, shrink: Any) -> tuple[Tensor, Tensor]:
    """The kept entries, and no word of the means."""
    *outer, row, column = range(len(shrink.shape))
    return shrink.along(rows, *outer, row, None), shrink.along(columns, *outer, None, column)


def sliced_wrongly(rows: Tensor, columns: Tensor, shrink: Any) -> tuple[Tensor, Tensor]:
    """The last entries go, in place of those that the plan names."""
    rows, columns = states_factors(rows.flip(-2), columns.flip(-1), shrink)
    return rows.flip(-2), columns.flip(-1)


states_factors = states.factors


@pytest.mark.skipif("adafactor" not in OPTIMIZERS, reason="this torch has no factored state")
@pytest.mark.parametrize("fault", [sliced_alone, sliced_wrongly])
def test_factors_that_do_not_follow(monkeypatch: Patch, fault: Callable[..., Any]) -> None:
    monkeypatch.setattr(states, "factors", fault)
    with pytest.raises(LawBroken, match="stand for other moments after the cut"):
        laws.optimizer_follows(work(specimen("glu_mlp")), OPTIMIZERS["adafactor"])


def test_parameter_that_stops_training() -> None:
    """An optimizer that holds a parameter and does not move it."""

    class Lazy(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:
            self.param_groups[0]["params"][0].grad = None
            super().step()

    with pytest.raises(LawBroken, match=r"have a gradient and did not move"):
        laws.optimizer_follows(work(POOLED), lambda p: Lazy(p, lr=0.01, momentum=0.9))


def unknown(parameters: Any) -> torch.optim.Optimizer:
    return Preconditioned(parameters, lr=1e-3)


def test_unknown_state_that_is_not_refused(monkeypatch: Patch) -> None:
    monkeypatch.setattr(follower, "check", lambda optimizer, names, dims: None)
    with pytest.raises(LawBroken, match="the cut went ahead"):
        laws.optimizer_is_refused(work(POOLED), unknown)


def test_refusal_by_crash(monkeypatch: Patch) -> None:
    monkeypatch.delattr(follower, "check")
    with pytest.raises(LawBroken, match="was not refused, the cut failed: AttributeError"):
        laws.optimizer_is_refused(work(POOLED), unknown)


def test_an_optimizer_that_could_follow_is_not_one_to_refuse() -> None:
    with pytest.raises(LawBroken, match="the cut went ahead"):
        laws.optimizer_is_refused(work(POOLED), OPTIMIZERS["adam"])


def test_refusal_that_comes_too_late(monkeypatch: Patch) -> None:
    honest = follower.check

    def check(optimizer: torch.optim.Optimizer, names: Any, dims: Any) -> None:
        with torch.no_grad():
            optimizer.param_groups[0]["params"][0].zero_()
        honest(optimizer, names, dims)

    monkeypatch.setattr(follower, "check", check)
    with pytest.raises(LawBroken, match=r"was refused, but \['model'\]\['conv1.weight'\] was changed"):
        laws.optimizer_is_refused(work(POOLED), unknown)


# -- targets ----------------------------------------------------------------------------------------------


def hold_target(target: nk.targets.Target, name: str = "vgg_pooled") -> None:
    laws.reaches_target(traced(name), specimen(name).inputs(), target)


def test_choice_that_empties_a_layer(monkeypatch: Patch) -> None:
    def everything(graph: Graph, worth: Any, target: Any) -> dict[str, tuple[int, ...]]:
        return {group.name: tuple(range(len(group))) for group in graph.groups}

    monkeypatch.setattr(decide, "select", everything)
    with pytest.raises(LawBroken, match="would leave the layer empty"):
        hold_target(nk.Ratio(0.5))


def all_but(ladders: list[decide.Ladder], steps: int) -> dict[str, tuple[int, ...]]:
    return {ladder.group.name: ladder.chosen(max(0, len(ladder) - steps)) for ladder in ladders}


@pytest.mark.parametrize(
    ("steps", "message"), [(0, "one step larger .* would do"), (10**6, "more than was asked")], ids=["much", "little"]
)
@pytest.mark.parametrize("target", [nk.Macs(0.6), nk.Params(0.6)], ids=str)
def test_choice_that_misses(monkeypatch: Patch, target: nk.targets.Target, steps: int, message: str) -> None:
    monkeypatch.setattr(decide, "_evenly", lambda ladders, fits: all_but(ladders, steps))
    with pytest.raises(LawBroken, match=message):
        hold_target(target)


def test_ratio_that_is_not_what_was_asked(monkeypatch: Patch) -> None:
    monkeypatch.setattr(decide, "_by_ratio", lambda ladders, target: all_but(ladders, 0))
    with pytest.raises(LawBroken, match=r"should remove \d+ of the \d+ units"):
        hold_target(nk.Ratio(0.5))
    with pytest.raises(LawBroken, match="more than asked"):
        hold_target(nk.Ratio(0.5, scope="global"))
    monkeypatch.setattr(decide, "_by_ratio", lambda ladders, target: all_but(ladders, 10**6))
    with pytest.raises(LawBroken, match="more would fit"):
        hold_target(nk.Ratio(0.5, scope="global"))


def test_ratio_outside_of_what_was_allowed(monkeypatch: Patch) -> None:
    target = nk.Ratio(0.5, skip=("conv1",))
    monkeypatch.setattr(nk.Ratio, "_allows", lambda self, name: True)
    picks = nk.Ratio.picks
    monkeypatch.setattr(nk.Ratio, "picks", lambda self, groups: [g for g in picks(self, groups) if g.name != "conv1"])
    monkeypatch.setattr(decide, "_by_ratio", lambda ladders, target: {"conv1": (0, 1)})
    with pytest.raises(LawBroken, match="which it leaves out"):
        hold_target(target)


def test_width_that_is_not_round(monkeypatch: Patch) -> None:
    monkeypatch.setattr(decide, "rounded", lambda group, multiple: 1)
    with pytest.raises(LawBroken, match="no multiple of 4"):
        hold_target(nk.Macs(0.6, round_to=4))


def test_forecast_that_is_wrong(monkeypatch: Patch) -> None:
    honest = Graph.macs
    monkeypatch.setattr(Graph, "macs", lambda self, chosen=None: honest(self, chosen) // 2)
    with pytest.raises(LawBroken, match="the graph foretells"):
        hold_target(nk.Macs(0.6))


def test_refusal_of_what_can_be_had(monkeypatch: Patch) -> None:
    def refuse(*args: Any) -> None:
        raise UnreachableTarget("not today")

    monkeypatch.setattr(decide, "by_cost", refuse)
    with pytest.raises(LawBroken, match="was refused, and a legal plan leaves"):
        hold_target(nk.Macs(0.6))


# -- the guest --------------------------------------------------------------------------------------------


def hold_guest() -> None:
    laws.model_is_untouched(POOLED.build(), POOLED.inputs())


def test_trace_that_leaves_eval_mode_on(monkeypatch: Patch) -> None:
    from niwaki.graph import observe

    def evaluating(model: nn.Module) -> nullcontext[None]:
        model.eval()
        return nullcontext()

    monkeypatch.setattr(observe, "evaluating", evaluating)
    with pytest.raises(LawBroken, match=r"nk.trace changed \['modes'\]"):
        hold_guest()


def test_plan_that_moves_the_weather(monkeypatch: Patch) -> None:
    draw_from_the_weather(monkeypatch)
    with torch.random.fork_rng(devices=[]), pytest.raises(LawBroken, match=r"nk.plan changed \['torch'\]"):
        hold_guest()


def test_mask_in_place(monkeypatch: Patch) -> None:
    from niwaki.surgery.masks import mask_

    monkeypatch.setattr(untouched, "mask", mask_)
    with pytest.raises(LawBroken, match=r"nk.mask changed \['tensors'\]"):
        hold_guest()


def test_cut_in_place(monkeypatch: Patch) -> None:
    monkeypatch.setattr(untouched, "cut", cut.cut_)
    with pytest.raises(LawBroken, match=r"nk.cut changed \['tensors'\]"):
        hold_guest()


def test_cut_that_exchanges_tensors_for_equals(monkeypatch: Patch) -> None:
    def exchange(model: nn.Module, plan: Plan) -> nn.Module:
        small = cut.cut(model, plan)
        old = model.get_submodule("conv1").bias
        twin = nn.Parameter(old.detach().clone(), requires_grad=old.requires_grad)
        twin.grad = old.grad
        model.get_submodule("conv1").bias = twin
        return small

    monkeypatch.setattr(untouched, "cut", exchange)
    with pytest.raises(LawBroken, match=r"nk\.cut exchanged tensors"):
        hold_guest()


def test_certificate_that_leaves_gradients(monkeypatch: Patch) -> None:
    honest = untouched.certify

    def leave(model: nn.Module, *args: Any) -> Any:
        certificate = honest(model, *args)
        for p in model.parameters():
            p.grad = None
        return certificate

    monkeypatch.setattr(untouched, "certify", leave)
    with pytest.raises(LawBroken, match=r"nk.certify changed \['gradients'\]"):
        hold_guest()


# -- disk -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("saboteur", ["load_forgets_to_fill", "load_fills_the_wrong_tensors"])
def test_load_that_goes_wrong(tmp_path: Path, saboteur: str) -> None:
    with pytest.raises(LawBroken, match="after save and load in a fresh process the answers differ"):
        laws.plan_round_trips(f"tests.laws.builders:{saboteur}", POOLED.inputs(), tmp_path)


def answer_in_this_process(folders: Mapping[str, Path], folder: Path) -> None:
    for place in folders.values():
        shutil.copy(place / f"saved-{disk.ANSWERS}", place / f"loaded-{disk.ANSWERS}")


def test_plan_that_reads_otherwise(monkeypatch: Patch, tmp_path: Path) -> None:
    honest = Plan.load

    def load(path: Path) -> Plan:
        plan = honest(path)
        return replace(plan, removed=dict(list(plan.removed.items())[1:]))

    monkeypatch.setattr(disk.Plan, "load", staticmethod(load))
    monkeypatch.setattr(disk, "_in_a_fresh_process", answer_in_this_process)
    with pytest.raises(LawBroken, match=r"is not the plan that was written.*'removed'"):
        laws.plan_round_trips("tests.laws.builders:vgg_pooled", POOLED.inputs(), tmp_path)


def test_save_that_loses_a_tensor(monkeypatch: Patch, tmp_path: Path) -> None:
    honest = store.own_tensors
    monkeypatch.setattr(store, "own_tensors", lambda model: dict(list(honest(model).items())[1:]))
    with pytest.raises(LawBroken, match="loading in a fresh process failed"):
        laws.plan_round_trips("tests.laws.builders:vgg_pooled", POOLED.inputs(), tmp_path)
