"""Scores of known weights, worked out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import niwaki as nk
from niwaki.scores import SCORES, Score
from tests.graph.nets import Net, tokens


def net() -> nn.Sequential:
    """Rows of the first layer: (1, -1), (3, 4), (0, 0)."""
    made = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    with torch.no_grad():
        made[0].weight.copy_(torch.tensor([[1.0, -1.0], [3.0, 4.0], [0.0, 0.0]]))
        made[0].bias.fill_(100.0)
        made[2].weight.fill_(100.0)
    return made


def worth(score: Score, model: nn.Module, inputs: torch.Tensor) -> list[float]:
    graph = nk.trace(model, inputs)
    return score(graph.groups[0], dict(graph.tensors())).tolist()


def test_l1_is_the_mean_absolute_weight_of_the_makers_alone() -> None:
    assert worth(nk.scores.L1(), net(), torch.ones(1, 2)) == [1.0, 3.5, 0.0]


def test_l2_is_the_root_of_the_mean_square() -> None:
    assert worth(nk.scores.L2(), net(), torch.ones(1, 2)) == pytest.approx([1.0, 12.5**0.5, 0.0])


def test_a_unit_made_twice_is_the_mean_over_both_makers() -> None:
    """Unit 0: (1 + 1 + 6) / 3 entries; unit 1: (3 + 4 + 2) / 3."""
    both = Net(
        lambda n, x: n.b(n.a(x) + n.c(x[:, :1])),
        a=nn.Linear(2, 2),
        c=nn.Linear(1, 2),
        b=nn.Linear(2, 2),
    )
    with torch.no_grad():
        both.a.weight.copy_(torch.tensor([[1.0, -1.0], [3.0, 4.0]]))
        both.c.weight.copy_(torch.tensor([[-6.0], [2.0]]))
    assert worth(nk.scores.L1(), both, torch.ones(1, 2)) == pytest.approx([8 / 3, 3.0])


def test_a_unit_of_two_rows_counts_both() -> None:
    """A gate pairs rows i and i + 2: (1 + 5) / 2 and (2 + 10) / 2."""
    gate = Net(lambda n, x: n.b(nn.functional.glu(n.a(x))), a=nn.Linear(1, 4, bias=False), b=nn.Linear(2, 1))
    with torch.no_grad():
        gate.a.weight.copy_(torch.tensor([[1.0], [2.0], [-5.0], [10.0]]))
    assert worth(nk.scores.L1(), gate, torch.ones(1, 1)) == [3.0, 6.0]


def test_half_precision_is_summed_in_full() -> None:
    wide = nn.Sequential(nn.Linear(4096, 2), nn.ReLU(), nn.Linear(2, 1)).half()
    with torch.no_grad():
        wide[0].weight.fill_(100.0)
    graph = nk.trace(wide, torch.ones(1, 4096, dtype=torch.float16))
    found = nk.scores.L2()(graph.groups[0], dict(graph.tensors()))
    assert found.dtype == torch.float32
    assert found.tolist() == [100.0, 100.0]


def test_random_depends_on_seed_and_group_name_alone() -> None:
    two = Net(
        lambda n, x: n.b(n.a(x)) + n.d(n.c(x)),
        a=nn.Linear(4, 9),
        b=nn.Linear(9, 3),
        c=nn.Linear(4, 9),
        d=nn.Linear(9, 3),
    )
    graph = nk.trace(two, tokens())
    a, c = graph["a"], graph["c"]
    state = torch.get_rng_state()
    first, again = nk.scores.Random(1)(a, {}), nk.scores.Random(1)(a, {})
    assert torch.equal(first, again)
    assert not torch.equal(first, nk.scores.Random(2)(a, {}))
    assert not torch.equal(first, nk.scores.Random(1)(c, {}))
    assert torch.equal(state, torch.get_rng_state())
    assert len(first.unique()) == 9


def test_scores_are_values_known_by_name() -> None:
    assert nk.scores.Random(3) == nk.scores.Random(seed=3) != nk.scores.Random(4)
    assert nk.scores.L1() == nk.scores.L1() != nk.scores.L2()
    for name in ("L1", "L2", "Random"):
        assert SCORES[name] is getattr(nk.scores, name)
        assert isinstance(SCORES[name](), Score)


def test_a_bare_vector_makes_units_of_one_entry_each() -> None:
    """No layer makes them: every member counts. (|2| + |10|) / 2 and (|-4| + |20|) / 2."""

    class Waves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.frequencies = nn.Parameter(torch.tensor([2.0, -4.0]))
            self.out = nn.Linear(2, 1)

        def forward(self, t: torch.Tensor) -> torch.Tensor:
            return self.out(torch.sin(t[:, None] * self.frequencies))

    waves = Waves()
    with torch.no_grad():
        waves.out.weight.copy_(torch.tensor([[10.0, 20.0]]))
    assert worth(nk.scores.L1(), waves, torch.ones(3)) == [6.0, 12.0]
    assert worth(nk.scores.L2(), waves, torch.ones(3)) == pytest.approx([52**0.5, 208**0.5])
