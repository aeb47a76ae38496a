"""The zoo keeps its own house: every specimen is small, repeatable, alive and truthfully labelled."""

from __future__ import annotations

from itertools import chain

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from niwaki.testing.zoo import ZOO, Specimen, specimen, zoo

each = pytest.mark.parametrize("plant", ZOO, ids=lambda plant: plant.name)


def tensors(model: nn.Module) -> dict[str, Tensor]:
    return dict(chain(model.named_parameters(), model.named_buffers()))


@torch.no_grad()
def answer(model: nn.Module, plant: Specimen) -> list[Tensor]:
    return tree_leaves(model(*plant.inputs()))


def same(first: list[Tensor], second: list[Tensor]) -> bool:
    return len(first) == len(second) and all(map(torch.equal, first, second))


@each
def test_grows_the_same_twice(plant: Specimen) -> None:
    first, second = tensors(plant.build()), tensors(plant.build())
    assert list(first) == list(second)
    assert same(list(first.values()), list(second.values()))
    assert same(tree_leaves(plant.inputs()), tree_leaves(plant.inputs()))


@each
def test_leaves_the_global_generator_alone(plant: Specimen) -> None:
    before = torch.get_rng_state()
    answer(plant.build(), plant)
    assert torch.equal(before, torch.get_rng_state())


@each
def test_answers_the_same_twice(plant: Specimen) -> None:
    model = plant.build()
    assert not any(module.training for module in model.modules())
    state = {name: tensor.clone() for name, tensor in tensors(model).items()}
    first, second = answer(model, plant), answer(model, plant)
    assert same(first, second)
    assert all(tensor.isfinite().all() and len(tensor) for tensor in first)
    assert all(torch.equal(state[name], tensor) for name, tensor in tensors(model).items())


@each
def test_is_tiny(plant: Specimen) -> None:
    assert sum(weight.numel() for weight in plant.build().parameters()) <= 50_000


@each
def test_answers_depend_on_the_input(plant: Specimen) -> None:
    model = plant.build()
    inputs = plant.inputs()
    leaves = [leaf for leaf in tree_leaves(inputs) if leaf.is_floating_point()]
    first = answer(model, plant)
    with torch.no_grad():
        for leaf in leaves:
            leaf.mul_(1.5)
        second = tree_leaves(model(*inputs))
    assert not leaves or not same(first, second)


@each
def test_claims_name_real_axes(plant: Specimen) -> None:
    known = tensors(plant.build())
    for name, dim in (*plant.blocks, *plant.prunable, *chain.from_iterable(plant.tied)):
        assert name in known, name
        assert 0 <= dim < known[name].dim(), (name, dim)


@each
def test_claims_do_not_contradict_each_other(plant: Specimen) -> None:
    assert plant.blocks, "the world holds on to something in every network"
    assert len(set(plant.blocks)) == len(plant.blocks)
    assert not set(plant.blocks) & {*plant.prunable, *chain.from_iterable(plant.tied)}
    assert all(one != other for one, other in plant.tied)
    assert ("later" in plant.tags) == (not plant.prunable)


@each
def test_no_prunable_unit_is_dead(plant: Specimen) -> None:
    """A dead unit would let a wrong cut pass as a right one."""
    model = plant.build()
    known, before = tensors(model), answer(model, plant)
    for name, dim in plant.prunable:
        for index in range(known[name].shape[dim]):
            entry = known[name].select(dim, index).detach()
            kept = entry.clone()
            entry.zero_()
            assert not same(before, answer(model, plant)), (name, dim, index)
            entry.copy_(kept)


@each
def test_no_two_entries_of_a_norm_or_bias_are_alike(plant: Specimen) -> None:
    for name, weight in plant.build().named_parameters():
        if weight.dim() == 1:
            assert len(weight.unique()) == len(weight), name


def test_names_are_unique() -> None:
    assert len({plant.name for plant in ZOO}) == len(ZOO)


def test_tags_choose_specimens() -> None:
    assert zoo() == ZOO
    assert {"cnn", "must_block"} <= specimen("flip").tags
    chosen = zoo("cnn", "balance")
    assert specimen("resnext") in chosen
    assert all({"cnn", "balance"} <= plant.tags for plant in chosen)


def test_unknown_words_name_the_nearest() -> None:
    with pytest.raises(KeyError, match="no specimen 'resnet_projektion'; the nearest is 'resnet_projection'"):
        specimen("resnet_projektion")
    with pytest.raises(KeyError, match="no tag 'depthwide'; the nearest is 'depthwise'"):
        zoo("depthwide")
