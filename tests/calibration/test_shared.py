"""Layers, norms and modules that are used more than once, or have more than one name."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import niwaki as nk
from niwaki.calibration import Calibration, Source, reestimate
from niwaki.calibration.batches import Batch, read
from niwaki.errors import BadInput
from niwaki.methods import Method
from tests.calibration.nets import activity, block, calibration


class Levels(nn.Module):
    """One head on inputs of two kinds, a batch norm for each, as detectors have it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 32), nn.Linear(32, 16, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm1d(16) for _ in range(2))

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        return tuple(norm(self.second(torch.relu(self.first(z)))) for norm, z in zip(self.norms, (x, y), strict=True))


class OneNorm(nn.Module):
    """One batch norm behind two layers, of which one loses inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.other = nn.Linear(4, 8), nn.Linear(8, 6, bias=False), nn.Linear(4, 6)
        self.norm = nn.BatchNorm1d(6)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.norm(self.second(torch.relu(self.first(x)))), self.norm(self.other(x))


class Twice(nn.Module):
    """A layer of two names, called by both, and two layers of one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 12), nn.Linear(12, 6)
        self.again = self.second
        self.tied = nn.Linear(12, 6)
        self.tied.weight = self.second.weight

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(self.first(x))
        return self.second(hidden) + self.again(0.5 * hidden) + self.tied(hidden)


def seeded(make: Any) -> Any:
    torch.manual_seed(0)
    model = make()
    with torch.no_grad():
        for norm in [m for m in model.modules() if isinstance(m, nn.BatchNorm1d)]:
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
    return model.eval()


def draw(many: int, wide: int, mean: float = 0.0, spread: float = 1.0, seed: int = 1) -> Tensor:
    return mean + spread * torch.randn(many, wide, generator=torch.Generator().manual_seed(seed))


def half(model: nn.Module, batch: Any, compensate: bool) -> Any:
    method = nk.methods.ispasp(nk.Ratio({"first": 0.5}), iters=3, compensate=compensate)
    return nk.prune(model, batch, method, data=[batch])


def test_a_constant_goes_into_no_norm_that_sees_but_one_of_several_calls() -> None:
    """The running mean of the first norm took the constant of both; the second output was off by three."""
    model, batch = seeded(Levels), (draw(64, 4, 1.0), draw(64, 4, 1.0, 0.2, seed=2))
    small = half(model, batch, True)
    for norm, old in zip(small.norms, model.norms, strict=True):
        torch.testing.assert_close(norm.running_mean, old.running_mean)
    # The fit is of what the layer gives, over all calls; without the norms' scales the error does not rise.
    plain, errors = half(model, batch, False), []
    for found in (plain, small):
        seen: list[Tensor] = []
        with found.second.register_forward_hook(lambda module, args, out, seen=seen: seen.append(out)):
            found(*batch)
        with torch.no_grad():
            due = [model.second(torch.relu(model.first(z))) for z in batch]
        errors.append(sum(float((a - b).detach().square().sum()) for a, b in zip(seen, due, strict=True)))
    assert errors[1] < errors[0]


def test_a_norm_behind_two_layers_takes_no_constant_of_one() -> None:
    model, x = seeded(OneNorm), draw(64, 4, 1.0)
    small = half(model, x, True)
    torch.testing.assert_close(small(x)[1], model(x)[1])
    torch.testing.assert_close(small.norm.running_mean, model.norm.running_mean)


def test_a_norm_of_its_own_takes_the_constant() -> None:
    model = seeded(lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 6, bias=False), nn.BatchNorm1d(6)))
    x = draw(64, 4, 1.0)
    method = nk.methods.ispasp(nk.Ratio({"0": 0.5}), iters=3, compensate=True)
    small = nk.prune(model, x, method, data=[x])
    assert not torch.allclose(small[3].running_mean, model[3].running_mean)
    torch.testing.assert_close(small(x).mean(0), model(x).mean(0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", [nk.methods.ispasp, nk.methods.topk, nk.methods.gfs])
def test_what_has_two_names_is_fitted_under_both(make: Any) -> None:
    model, x = seeded(Twice), draw(256, 6)
    missed = {}
    for compensate in (False, True):
        small = nk.prune(model, x, make(nk.Ratio({"first": 0.5}), compensate=compensate), data=[x])
        assert small.second is small.again
        assert small.tied.weight is small.second.weight
        missed[compensate] = float((small(x) - model(x)).detach().square().mean())
    assert missed[True] < 0.7 * missed[False]


class Tied(nn.Module):
    """A stream that begins in an embedding and ends in a head of the same weight."""

    def __init__(self, tied: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.first, self.second = nn.Embedding(10, 8), nn.Linear(8, 6), nn.Linear(6, 8)
        self.head = nn.Linear(8, 10, bias=False)
        if tied:
            self.head.weight = self.embedding.weight
        else:
            self.head.load_state_dict(self.embedding.state_dict())

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        return self.head(x + self.second(torch.relu(self.first(x))))


TOKENS = torch.arange(40).reshape(10, 4) % 10


def test_a_head_of_the_embeddings_weight_takes_the_units_too() -> None:
    seen = {}
    for tied in (False, True):
        found = calibration(Tied(tied).eval(), TOKENS, 10)
        (looked,) = found.blocks([found.graph["embedding"]], ["embedding"])
        assert [taker.path for taker in looked.takers] == ["first", "head"]
        kept = torch.arange(8) < 4
        told = found.sensitivity([looked], lambda m, b: m(b).square().sum(), each=False)
        seen[tied] = (found.activity(looked).importance(kept), told["embedding"])
    for apart, together in zip(*seen.values(), strict=True):
        torch.testing.assert_close(apart, together)


@pytest.mark.parametrize(
    ("method", "what"),
    [
        (nk.methods.ispasp(nk.Ratio({"embedding": 0.5}), compensate=True), "compensation"),
        (nk.methods.gfs(nk.Ratio({"embedding": 0.5})), "rescaling"),
    ],
)
def test_a_weight_that_makes_the_units_too_is_not_written(method: Method, what: str) -> None:
    told = rf"{what} of group 'embedding' needs to write the weight of 'head', .*tied embeddings.*skip='embedding'"
    with pytest.raises(BadInput, match=told):
        nk.prune(Tied().eval(), TOKENS, method, data=[TOKENS])


def test_a_module_of_two_names_is_masked_once() -> None:
    """Michel's score is a gradient with respect to a mask: two hooks on one module would square the mask."""

    class Named(nn.Module):
        def __init__(self, twice: bool) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.first, self.second = nn.Linear(6, 12), nn.Linear(12, 6)
            if twice:
                self.again = self.second

        def forward(self, x: Tensor) -> Tensor:
            return self.second(torch.relu(self.first(x)))

    scores = []
    for twice in (False, True):
        found = calibration(Named(twice).eval(), draw(32, 6), 16)
        told = found.sensitivity([block(found, "first")], lambda m, b: m(b).square().sum(), each=False)
        scores.append(told["first"])
    assert float(scores[0].min()) > 0
    torch.testing.assert_close(*scores)


# -- batch norms measured again ---------------------------------------------------------------------------------------


def test_a_norm_that_is_called_twice_is_measured_on_both() -> None:
    model, x = seeded(OneNorm), draw(64, 4, 1.0)
    assert reestimate(model, [Batch((part,), {}, 32) for part in x.split(32)]) == 1
    with torch.no_grad():
        both = torch.cat([model.second(torch.relu(model.first(x))), model.other(x)])
    torch.testing.assert_close(model.norm.running_mean, both.mean(0), rtol=1e-4, atol=1e-5)


def test_a_last_batch_of_one_sample_is_left_out_and_nothing_is_half_done() -> None:
    model, x = seeded(OneNorm), draw(65, 4)
    before = {name: tensor.clone() for name, tensor in model.named_buffers() if "running" in name}
    with pytest.raises(BadInput, match="batches of one value per channel"):
        reestimate(model, [Batch((x[:1],), {}, 1)])
    assert all(torch.equal(dict(model.named_buffers())[name], tensor) for name, tensor in before.items())
    twin = seeded(OneNorm)
    reestimate(model, [Batch((part,), {}, len(part)) for part in x.split(32)])
    reestimate(twin, [Batch((part,), {}, len(part)) for part in x[:64].split(32)])
    assert model.norm.running_mean.equal(twin.norm.running_mean)


@pytest.mark.parametrize("options", [{"statistics": "batch"}, {"reestimate": True}])
def test_methods_live_with_a_last_batch_of_one_sample(options: dict[str, Any]) -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 6), nn.BatchNorm1d(6)).eval()
    x = draw(33, 4)
    small = nk.prune(model, x[:2], nk.methods.ispasp(nk.Ratio(0.5), iters=3, **options), data=list(x.split(16)))
    assert small[0].out_features == 4
    assert small(x).isfinite().all()


# -- what cannot be ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [nk.methods.topk, nk.methods.ispasp, nk.methods.gfs])
def test_activations_that_are_no_numbers_are_refused(make: Any) -> None:
    model, x = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 6)).eval(), draw(8, 4)
    x[3, 1] = torch.nan
    with pytest.raises(BadInput, match="activations of group '0' hold inf or nan"):
        nk.prune(model, x, make(nk.Ratio(0.5)), data=[x])


def test_a_weight_that_is_computed_is_not_rescaled() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.utils.parametrizations.weight_norm(nn.Linear(8, 6))).eval()
    x = draw(8, 4)
    with pytest.raises(BadInput, match="rescaling of group '0' needs to write the weight of '2'"):
        nk.prune(model, x, nk.methods.gfs(nk.Ratio({"0": 0.5})), data=[x])


@pytest.mark.parametrize("walk", [True, False])
def test_what_was_passed_can_be_looked_at_again(walk: bool) -> None:
    """Of two parts that look, the second starts at the front, whatever the first has looked at."""
    torch.manual_seed(0)
    model = nn.Sequential(*(layer for _ in range(3) for layer in (nn.Linear(12, 12), nn.ReLU())), nn.Linear(12, 3))
    found = calibration(model.eval(), draw(64, 12), 16, walk=walk)
    names = ("4", "0", "2", "0")
    seen = [found.activity(block(found, name)).mass() for name in names]
    alone = [activity(model, draw(64, 12), name, 16).mass() for name in names]
    for one, other in zip(seen, alone, strict=True):
        torch.testing.assert_close(one, other)


def test_two_parts_that_look_choose_as_each_would_and_are_both_cut() -> None:
    from niwaki.methods.parts import Cut
    from niwaki.methods.recover import Recover
    from niwaki.methods.selectors import Heaviest

    torch.manual_seed(0)
    model = nn.Sequential(*(layer for _ in range(3) for layer in (nn.Linear(12, 12), nn.ReLU())), nn.Linear(12, 3))
    model, x = model.eval(), draw(64, 12)
    first, later = (Recover(Heaviest(), nk.Ratio(0.5, only=(name,))) for name in ("0", "4"))

    def cut(*parts: Recover) -> Any:
        method = nk.methods.Method("parts", nk.methods.sequence(*parts, Cut()))
        return nk.prune(model, x, method, data=list(x.split(16)))

    alone, forward, back = cut(first), cut(first, later), cut(later, first)
    for small in (forward, back):
        assert [small[k].out_features for k in (0, 2, 4)] == [6, 12, 6]
        assert small[0].weight.equal(alone[0].weight)
    assert not forward[0].weight.equal(model[0].weight[:6])


@pytest.mark.parametrize("before", ["recover", "choose", "choose behind"])
def test_a_part_sees_what_the_one_before_it_has_masked(before: str) -> None:
    """As it sees the network from which that is gone; also where the front was looked at already, and kept."""
    from niwaki.methods import Choose, Cut, Mask
    from niwaki.methods.recover import Recover
    from niwaki.methods.selectors import Heaviest

    torch.manual_seed(0)
    model = nn.Sequential(*(layer for _ in range(4) for layer in (nn.Linear(12, 12), nn.ReLU())), nn.Linear(12, 3))
    with torch.no_grad():
        for each in model.parameters():
            each.normal_()
    model, x = model.eval(), draw(64, 12)
    front, middle, back = (nk.Ratio(0.7, only=(name,)) for name in ("2", "4", "6"))
    parts = {
        "recover": [Recover(Heaviest(), front)],
        "choose": [Choose(target=front), Mask()],
        "choose behind": [Recover(Heaviest(), middle), Choose(target=front), Mask()],
    }[before]

    def pruned(inside: nn.Module, *parts: Any) -> Any:
        method = nk.methods.Method("parts", nk.methods.sequence(*parts, Cut()))
        return nk.prune(inside, x, method, data=list(x.split(16)))

    together = pruned(model, *parts, Recover(Heaviest(), back))
    gone = {name: c.removed for name, c in nk.plan_of(together).choices.items() if name != "6"}
    small = nk.cut(model, nk.make_plan(nk.trace(model, x), gone))
    apart, blind = (pruned(inside, Recover(Heaviest(), back)) for inside in (small, model))
    assert together[8].weight.equal(apart[8].weight)
    assert not together[8].weight.equal(blind[8].weight)


class Reusing:
    """A loader that fills the same tensor with batch after batch."""

    def __init__(self, *batches: Tensor) -> None:
        self.batches = batches

    def __iter__(self) -> Any:
        room = torch.empty_like(self.batches[0])
        for part in self.batches:
            yield room.copy_(part)


@pytest.mark.parametrize("fresh", [False, True])
def test_a_loader_may_fill_the_same_tensors_again(fresh: bool) -> None:
    model = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 3)).eval()
    batches = [scale * draw(16, 6, seed=scale) for scale in (1, 10, 100, 1)]
    graph = nk.trace(model, batches[0])
    masses = []
    for data in (Reusing(*batches), batches):
        found = Calibration(model, graph, Source(data, batches[0]), samples=64, fresh=fresh)
        masses.append(found.activity(block(found, "0")).mass())
    torch.testing.assert_close(*masses)


def test_a_mapping_of_any_class_is_cut_to_so_many_samples() -> None:
    from collections import UserDict

    given = UserDict(input_ids=torch.arange(8).view(4, 2), labels=torch.arange(4))
    for batch in (read(given, given), read((given, torch.arange(4)), given["input_ids"])):
        found = batch.first(3).given
        told = found[0] if isinstance(found, tuple) else found
        assert type(told) is UserDict
        assert len(told["input_ids"]) == len(told["labels"]) == 3
