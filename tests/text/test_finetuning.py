"""Fine-tuning: it learns, is the textbook's step, and goes on bit for bit wherever it was broken off."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from niwaki.errors import BadInput
from niwaki.text.answers import loss, measured
from niwaki.text.batches import Tokens, tokenised
from niwaki.text.encoders import untrained
from niwaki.text.finetuning import Finetuning, Settings, adamw, finetune, linear
from niwaki.text.tables import Table
from tests.text import tiny

pytest.importorskip("transformers")

QUICK = Settings(epochs=3, lr=5e-3, size=8, seed=1, bf16=False)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    words = tiny.tokenizer(tmp_path_factory.mktemp("words"))
    texts, labels = zip(*tiny.reviews(44), strict=True)
    return tokenised(Table(texts, None, labels, ("bad", "good")), words)


def fresh(seed: int = 0) -> nn.Module:
    return untrained(tiny.bert_config(), 2, seed)


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(map(torch.equal, one.state_dict().values(), other.state_dict().values()))


def test_it_learns(tokens: Tokens) -> None:
    model = fresh()
    before = measured(model, tokens, ["accuracy"])["accuracy"]
    told: list[tuple[int, int, float]] = []
    settings = Settings(epochs=8, lr=1e-2, size=8)
    history = finetune(Finetuning(model, tokens, settings), tell=lambda *said: told.append(said))
    assert measured(model, tokens, ["accuracy"])["accuracy"] > max(0.9, before)
    assert [row["epoch"] for row in history] == list(range(1, 9))
    assert history[-1]["loss"] < history[0]["loss"] / 2
    assert [done for done, _, _ in told] == list(range(1, 49))
    assert {steps for _, steps, _ in told} == {48}


@pytest.mark.parametrize("stop", [1, 6, 13])
@pytest.mark.parametrize("accumulate", [1, 4])
def test_it_goes_on_bit_for_bit(tokens: Tokens, stop: int, accumulate: int, tmp_path: Path) -> None:
    def run(model: nn.Module) -> Finetuning:
        settings = Settings(epochs=3, lr=5e-3, size=8, seed=1, keep="best", accumulate=accumulate)
        return Finetuning(model, tokens, settings, evaluate=lambda m: -float(m.classifier.weight.detach().norm()))

    whole = run(fresh())
    whole.run()
    first = run(fresh())
    first.run(until=stop)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second = run(fresh(seed=9))
    torch.rand(3)  # whatever was drawn meanwhile
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert second.run() == whole.run()
    assert len(whole.history) == 3
    assert same(second.model, whole.model)


def test_checkpoints_are_gone_on_from(tokens: Tokens, tmp_path: Path) -> None:
    class BrokenOff(Exception):
        pass

    def fail(done: int, steps: int, value: float) -> None:
        if done == 9:
            raise BrokenOff

    whole = Finetuning(fresh(), tokens, QUICK)
    expected = finetune(whole)
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(BrokenOff):
        finetune(Finetuning(fresh(), tokens, QUICK), path, every=4, tell=fail)
    told: list[int] = []
    again = Finetuning(fresh(seed=3), tokens, QUICK)
    assert finetune(again, path, every=4, tell=lambda done, *_: told.append(done)) == expected
    assert told == list(range(9, 19))
    assert same(again.model, whole.model)
    finished = Finetuning(fresh(seed=3), tokens, QUICK)
    assert finetune(finished, path) == expected
    assert same(finished.model, whole.model)
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"checkpoint-00000{k}.pt" for k in (4, 5)]


def test_the_seed_decides(tokens: Tokens) -> None:
    models = [fresh() for _ in range(3)]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        Finetuning(model, tokens, Settings(epochs=1, lr=5e-3, size=8, seed=seed)).run()
    assert same(models[0], models[1])
    assert not same(models[0], models[2])


def test_a_step_by_hand(tokens: Tokens) -> None:
    """No dropout, one batch of all rows: AdamW at the rate of the step."""
    settings = Settings(epochs=4, lr=5e-3, size=44, warmup=0.5, bf16=False)
    model = untrained(tiny.bert_config(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0), 2)
    twin = copy.deepcopy(model)
    Finetuning(model, tokens, settings).run()
    twin.train()
    matrices = [p for p in twin.parameters() if p.dim() >= 2]
    others = [p for p in twin.parameters() if p.dim() < 2]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.01}, {"params": others, "weight_decay": 0}])
    batch = tokens.batch(torch.arange(44))
    for lr in (0.0, 2.5e-3, 5e-3, 2.5e-3):
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.zero_grad()
        loss(twin, batch, bf16=False).backward()
        optimizer.step()
    for (name, one), other in zip(model.named_parameters(), twin.parameters(), strict=True):
        assert torch.allclose(one, other, atol=2e-4), name


@pytest.mark.parametrize(("clip", "moved"), [(1e-3, 1e-3), (1e3, None)])
def test_long_gradients_are_shortened(tokens: Tokens, clip: float, moved: float | None) -> None:
    """Plain descent at rate 1 moves the weights by the gradient: by the clip, where that is shorter."""
    model = untrained(tiny.bert_config(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0), 2)
    twin = copy.deepcopy(model)
    settings = Settings(epochs=1, size=44, warmup=0.0, clip=clip, bf16=False)
    Finetuning(model, tokens, settings, optimizer=torch.optim.SGD(model.parameters(), lr=1.0)).run()
    loss(twin.train(), tokens.batch(torch.arange(44)), bf16=False).backward()
    length = float(torch.sqrt(sum((p.grad**2).sum() for p in twin.parameters())))
    assert length > 2e-3
    pairs = zip(model.parameters(), twin.parameters(), strict=True)
    away = sum(((one - other) ** 2).sum().item() for one, other in pairs)
    assert away**0.5 == pytest.approx(moved or length, rel=1e-2)


def test_accumulated_batches_are_one_large_one(tokens: Tokens) -> None:
    """22 rows twice are 44 at once, to rounding, without dropout."""
    plain = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    models = [untrained(tiny.bert_config(**plain), 2) for _ in range(2)]
    for model, size in zip(models, (22, 44), strict=True):
        settings = Settings(epochs=2, lr=1e-3, size=size, accumulate=44 // size, warmup=0.0, bf16=False)
        run = Finetuning(model, tokens, settings, optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
        run.run()
        assert run.steps == 2
    for one, other in zip(*(model.parameters() for model in models), strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_the_rate_is_that_of_transformers() -> None:
    from transformers import get_linear_schedule_with_warmup

    for steps, warmup in ((10, 0.3), (100, 0.1), (7, 0.0), (5, 1.0)):
        optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0)
        theirs = get_linear_schedule_with_warmup(optimizer, round(warmup * steps), steps)
        for step in range(steps):
            assert linear(step, steps, warmup) == pytest.approx(theirs.get_last_lr()[0])
            optimizer.step()
            theirs.step()


def test_the_best_epoch_is_kept(tokens: Tokens) -> None:
    values = iter([0.2, 0.7, 0.7])
    states: list[dict[str, Any]] = []

    def evaluate(model: nn.Module) -> float:
        states.append(copy.deepcopy(model.state_dict()))
        return next(values)

    settings = Settings(epochs=3, lr=5e-3, size=8, keep="best")
    run = Finetuning(fresh(), tokens, settings, evaluate=evaluate)
    history = run.run()
    assert [row["value"] for row in history] == [0.2, 0.7, 0.7]
    assert all(map(torch.equal, run.model.state_dict().values(), states[1].values()))
    with pytest.raises(BadInput, match="keep='best' needs evaluate"):
        Finetuning(fresh(), tokens, settings)


def test_something_else_may_step(tokens: Tokens) -> None:
    model = fresh()
    optimizer, calls = adamw(model, 5e-3), []

    def step() -> None:
        calls.append(1)
        optimizer.step()

    Finetuning(model, tokens, QUICK, optimizer=optimizer, step=step).run()
    twin = fresh()
    Finetuning(twin, tokens, QUICK).run()
    assert len(calls) == 18
    assert same(model, twin)


def test_the_best_of_a_model_that_something_else_masks_is_refused(tokens: Tokens) -> None:
    """The first epoch's weights are without the masks that came later: an evaluation that falls would undo them."""
    model = fresh()
    optimizer = adamw(model, 5e-3)
    best = replace(QUICK, keep="best")

    def run(settings: Settings, step: Callable[[], Any] | None) -> Finetuning:
        values = iter([0.9, 0.8, 0.7])
        options = {"optimizer": optimizer, "evaluate": lambda _: next(values)}
        return Finetuning(model, tokens, settings, step=step, **options)

    def step() -> None:
        optimizer.step()
        with torch.no_grad():
            model.classifier.weight.zero_()

    with pytest.raises(BadInput, match=r"undo what that step has masked or cut since. Take keep='last'"):
        run(best, step)
    late = run(best, None)
    late.step = step
    with pytest.raises(BadInput, match="keep='best' with a step that is not the optimizer's"):
        late.run()
    run(QUICK, step).run()
    assert not model.classifier.weight.any()
    assert len(run(best, optimizer.step).run()) == 3  # the optimizer's own, said by name


def test_biases_and_norms_do_not_decay() -> None:
    decaying, spared = adamw(fresh(), 1e-3, 0.1).param_groups
    assert decaying["weight_decay"] == 0.1
    assert spared["weight_decay"] == 0
    assert {p.dim() for p in decaying["params"]} == {2}
    assert {p.dim() for p in spared["params"]} == {1}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"epochs": 0}, "epochs must be a whole number of at least 1, not 0"),
        ({"size": 2.5}, "size must be"),
        ({"accumulate": True}, "accumulate must be"),
        ({"lr": 0}, "lr must be a number above 0, not 0"),
        ({"clip": float("inf")}, "clip must be"),
        ({"warmup": 1.5}, "warmup is a share"),
        ({"weight_decay": -1}, "weight_decay at least 0"),
        ({"keep": "first"}, "keep must be 'last' or 'best', not 'first'"),
    ],
)
def test_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        Settings(**settings)


def test_a_state_of_another_run_is_refused(tokens: Tokens) -> None:
    state = Finetuning(fresh(), tokens, QUICK).state_dict()
    for other in (Finetuning(fresh(), tokens, Settings(lr=1e-3)), Finetuning(fresh(), tokens.rows(8), QUICK)):
        with pytest.raises(BadInput, match="This state is of another run"):
            other.load_state_dict(state)


@pytest.mark.parametrize("changed", ["words", "labels"])
def test_a_state_of_other_data_of_the_same_size_is_refused(tokens: Tokens, changed: str, tmp_path: Path) -> None:
    finetune(Finetuning(fresh(), tokens, QUICK), tmp_path / "checkpoint.pt")
    labels, ids = tokens.labels, tokens.flat["input_ids"]
    other = replace(tokens, labels=1 - labels) if changed == "labels" else replace(
        tokens, flat={**tokens.flat, "input_ids": ids.flip(0)}
    )  # fmt: skip
    with pytest.raises(BadInput, match=r"This state is of another run: .*'data'"):
        finetune(Finetuning(fresh(), other, QUICK), tmp_path / "checkpoint.pt")


def test_a_state_from_before_data_were_told_is_gone_on_from(tokens: Tokens) -> None:
    run = Finetuning(fresh(), tokens, QUICK)
    run.run(until=2)
    state = {name: value for name, value in run.state_dict().items() if name != "data"}
    again = Finetuning(fresh(), tokens, QUICK)
    again.load_state_dict(state)
    assert again.done == 2


def test_the_best_of_nan_is_not_known(tokens: Tokens) -> None:
    def run(keep: str) -> Finetuning:
        settings = Settings(epochs=1, lr=5e-3, size=44, keep=keep)
        return Finetuning(fresh(), tokens, settings, evaluate=lambda model: float("nan"))

    with pytest.raises(BadInput, match="evaluate gives NaN after epoch 1, which is neither better nor worse"):
        run("best").run()
    assert len(run("last").run()) == 1


def test_a_loss_that_is_lost_is_told(tokens: Tokens) -> None:
    model = fresh()
    with torch.no_grad():
        model.classifier.bias.fill_(float("nan"))
    with pytest.raises(BadInput, match="The loss is nan at step 0: train with a smaller learning rate"):
        Finetuning(model, tokens, QUICK).run()
