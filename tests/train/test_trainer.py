"""Pruning inside the Trainer of transformers: the same weights as in a plain loop, and from any checkpoint."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import niwaki as nk
from niwaki.errors import BadInput, BrokenFile, CannotWrite, Damaged, NotSaved
from niwaki.methods import Method
from niwaki.ranks import Ranks
from niwaki.schedules import per_round
from niwaki.sealing import seal
from niwaki.train import checkpoints

transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")

pytestmark = pytest.mark.filterwarnings("ignore:.*pin_memory.*", "ignore:.*LeafSpec.*:FutureWarning")
METHODS = {
    "imp": nk.methods.imp(nk.Ratio(0.75, only="*.layer.*"), rounds=2, steps=2),
    "rewound": nk.methods.imp(nk.Ratio(0.75, only="*.layer.*"), rounds=2, steps=2, rewind=1),
    "spur": nk.methods.spur(nk.Ratio(0.75, only="*.layer.*", scope="global"), rounds=2, steps=2, alpha=1e-2),
    "proximal": nk.methods.spur(nk.Ratio(0.75, only="*.layer.*"), rounds=2, steps=2, alpha=1e-2, proximal=True),
    "movement": nk.methods.movement(nk.Ratio(0.75, only="*.layer.*"), steps=4, dense=1, after=1),
}
STEPS = 6


def bert(dropout: float = 0.1) -> nn.Module:
    config = transformers.BertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    torch.manual_seed(0)
    return transformers.BertForSequenceClassification(config)


def rows() -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(0, 50, (48, 8), generator=generator)
    return [{"input_ids": t, "labels": t[0] % 2} for t in tokens]


def trainer(folder: Path, method: Method, model: nn.Module, **more: Any) -> Any:
    options = {"resume_from": more.pop("resume_from", None), "ema": more.pop("ema", None)}
    settings = {
        "output_dir": str(folder),
        "max_steps": STEPS,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "max_grad_norm": 0.5,
        "save_steps": 1,
        "use_cpu": True,
        "report_to": [],
        "disable_tqdm": True,
        "logging_strategy": "no",
        **more,
    }
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, per_round(method.rounds, warmup=0.5))
    return InOrder(
        model,
        transformers.TrainingArguments(**settings),
        train_dataset=rows(),
        callbacks=[nk.PruningCallback(method, **options)],
        optimizers=(optimizer, scheduler),
    )


class InOrder(transformers.Trainer):
    """Takes the rows as they come, so that a plain loop can do the same."""

    def _get_train_sampler(self, *_: Any) -> Any:
        return torch.utils.data.SequentialSampler(rows())


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: t.detach().clone() for name, t in model.state_dict().items()}


def differing(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[str]:
    return [name for name in one if not torch.equal(one[name], other[name])]


def zeros(model: nn.Module) -> float:
    inside = [p for name, p in model.named_parameters() if ".layer." in name and p.dim() > 1]
    return sum(int((p == 0).sum()) for p in inside) / sum(p.numel() for p in inside)


def in_a_plain_loop(method: Method, model: nn.Module, parts: int) -> dict[str, Tensor]:
    """The same batches, of which two make a step. ``parts``: what the Trainer divides their losses by; it leaves it to
    models that say that they take arguments of the loss."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    share = per_round(method.rounds, warmup=0.5)
    run = nk.Pruning(model, optimizer, method, model.dummy_inputs)
    batches = iter(torch.utils.data.DataLoader(rows(), 4))
    model.train()
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = 0.01 * share(step)
        optimizer.zero_grad()
        for _ in range(2):
            (model(**next(batches)).loss / parts).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        run.step()
    return weights(model)


@pytest.mark.parametrize("name", METHODS)
def test_the_trainer_makes_what_a_plain_loop_makes(tmp_path: Path, name: str) -> None:
    work = trainer(tmp_path, METHODS[name], bert(dropout=0.0), save_strategy="no")
    work.train()
    expected = in_a_plain_loop(METHODS[name], bert(dropout=0.0), 1 if work.model_accepts_loss_kwargs else 2)
    assert differing(expected, weights(work.model)) == []
    assert zeros(work.model) == pytest.approx(0.75, abs=1e-3)
    (callback,) = (c for c in work.callback_handler.callbacks if isinstance(c, nk.PruningCallback))
    assert callback.run is not None
    assert callback.run.finished


@pytest.mark.parametrize("name", METHODS)
def test_it_goes_on_from_any_checkpoint_bit_for_bit(tmp_path: Path, name: str) -> None:
    whole = trainer(tmp_path, METHODS[name], bert())
    whole.train()
    expected = weights(whole.model)
    for stop in (1, 2, 3, 5):  # in the dense phase, right after a choice, in the middle of a round
        again = trainer(tmp_path, METHODS[name], bert())
        again.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{stop}"))
        assert differing(expected, weights(again.model)) == [], stop


def test_masks_hold_in_mixed_precision(tmp_path: Path) -> None:
    work = trainer(tmp_path, METHODS["spur"], bert(), bf16=True, save_strategy="no")
    work.train()
    assert zeros(work.model) == pytest.approx(0.75, abs=1e-3)


def test_the_saved_model_loads_as_any_other(tmp_path: Path) -> None:
    work = trainer(tmp_path / "run", METHODS["imp"], bert(), save_strategy="no")
    work.train()
    work.save_model(str(tmp_path / "model"))
    loaded = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    assert differing(weights(work.model), weights(loaded)) == []
    assert zeros(loaded) == pytest.approx(0.75, abs=1e-3)


def test_units_are_cut_inside_the_trainer(tmp_path: Path) -> None:
    target = nk.Ratio(0.5, only="*intermediate*")
    model = bert()
    work = trainer(tmp_path, nk.methods.greg1(target, grow=0.5, every=1, hold=1), model, save_strategy="no")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        work.train()
    assert model.bert.encoder.layer[0].intermediate.dense.weight.shape == (16, 16)


@pytest.mark.parametrize("given", [True, False], ids=["optimizer given", "made by the Trainer"])
def test_it_goes_on_after_a_cut(tmp_path: Path, given: bool) -> None:
    """The callback knows the folder, and cuts before the Trainer loads."""
    method = nk.methods.greg1(nk.Ratio(0.5, only="*intermediate*"), grow=0.5, every=1, hold=1)

    def begun(place: Path | None) -> Any:
        work = trainer(tmp_path, method, bert(), resume_from=place)
        if not given:
            work.optimizer = work.lr_scheduler = None
        return work

    whole = begun(None)
    whole.train()
    assert whole.model.bert.encoder.layer[0].intermediate.dense.out_features == 16
    for stop in (2, 4, 5):  # before the cut, right after it, and later
        place = tmp_path / f"checkpoint-{stop}"
        again = begun(place)
        again.train(resume_from_checkpoint=str(place))
        assert differing(weights(whole.model), weights(again.model)) == [], stop
        assert again.model.config.intermediate_size == 16


def test_a_checkpoint_without_a_state_is_told(tmp_path: Path) -> None:
    work = trainer(tmp_path, METHODS["imp"], bert())
    work.train()
    (tmp_path / "checkpoint-3" / "niwaki_pruning.pt").unlink()
    again = trainer(tmp_path, METHODS["imp"], bert())
    with pytest.raises(BadInput, match=r"no niwaki_pruning.pt in .*checkpoint-3: .*Go on from .*checkpoint-6, the"):
        again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))


def test_a_checkpoint_from_elsewhere(tmp_path: Path) -> None:
    whole = trainer(tmp_path / "old", METHODS["imp"], bert())
    whole.train()
    place = tmp_path / "old" / "checkpoint-3"
    again = trainer(tmp_path / "new", METHODS["imp"], bert(), resume_from=place)
    again.train(resume_from_checkpoint=str(place))
    assert differing(weights(whole.model), weights(again.model)) == []


CUTTING = nk.methods.greg1(nk.Ratio(0.5, only="*intermediate*"), grow=0.5, every=1, hold=1)


def test_the_folder_may_be_among_the_arguments(tmp_path: Path) -> None:
    whole = trainer(tmp_path / "old", CUTTING, bert())
    whole.train()
    place = str(tmp_path / "old" / "checkpoint-5")
    again = trainer(tmp_path / "new", CUTTING, bert(), resume_from_checkpoint=place)
    assert again.model.config.intermediate_size == 16
    again.train(resume_from_checkpoint=place)
    assert differing(weights(whole.model), weights(again.model)) == []
    dense = trainer(tmp_path / "new", CUTTING, bert(), resume_from_checkpoint=place)
    with pytest.raises(BadInput, match=r"the Trainer begins at step 0\. Give both the same folder"):
        dense.train()


def test_a_folder_among_the_arguments_gives_way_to_the_one_that_train_is_given(tmp_path: Path) -> None:
    whole = trainer(tmp_path, METHODS["imp"], bert(), save_steps=2)
    whole.train()
    first, second = (str(tmp_path / f"checkpoint-{step}") for step in (2, 4))
    again = trainer(tmp_path, METHODS["imp"], bert(), resume_from_checkpoint=first)
    again.train(resume_from_checkpoint=second)
    assert differing(weights(whole.model), weights(again.model)) == []


def test_a_state_that_was_written_beside_other_weights_is_refused(tmp_path: Path) -> None:
    """The callback is not told from where the Trainer goes on, and takes the folder of this run."""
    trainer(tmp_path / "one", METHODS["imp"], bert(), save_steps=3).train()
    other = bert()
    with torch.no_grad():
        other.classifier.weight.neg_()
    trainer(tmp_path / "other", METHODS["imp"], other, save_steps=3).train()
    again = trainer(tmp_path / "other", METHODS["imp"], bert())
    with pytest.raises(BadInput, match=r"other.*was written beside other weights .*PruningCallback\(..., resume_from="):
        again.train(resume_from_checkpoint=str(tmp_path / "one" / "checkpoint-3"))


@pytest.mark.parametrize("method", [CUTTING, METHODS["imp"]], ids=["cut", "zeros"])
def test_a_second_training_goes_on_with_what_is_pruned(tmp_path: Path, method: Method) -> None:
    work = trainer(tmp_path, method, bert(), save_strategy="no")
    work.train()
    (callback,) = (c for c in work.callback_handler.callbacks if isinstance(c, nk.PruningCallback))
    run, share = callback.run, zeros(work.model)
    before = weights(work.model)
    work.args.max_steps = 2  # fewer than the method took
    work.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(work.optimizer, lambda step: 1.0)
    work.train()
    assert callback.run is run
    assert work.model.config.intermediate_size == (16 if method is CUTTING else 32)
    assert zeros(work.model) == share
    assert differing(before, weights(work.model)) != []


def test_a_checkpoint_holds_the_average(tmp_path: Path) -> None:
    averages = []
    for stop in (None, 3):
        model = bert()
        ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.5))
        work = trainer(tmp_path, METHODS["imp"], model, ema=ema)
        work.add_callback(Averaging(model, ema))
        work.train(resume_from_checkpoint=stop and str(tmp_path / f"checkpoint-{stop}"))
        averages.append(weights(ema))
    assert differing(*averages) == []
    assert int(averages[0]["n_averaged"]) == STEPS


class Averaging(transformers.TrainerCallback):
    def __init__(self, model: nn.Module, ema: AveragedModel) -> None:
        self.model, self.ema = model, ema

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.ema.update_parameters(self.model)


@pytest.mark.parametrize(
    ("name", "there", "told"),
    [
        ("named", ["named"], []),
        (None, ["run-0", "run-1"], []),  # run-0 has its state
        (None, ["run-0", "run-1", "run-2"], ["checkpoint of step 3 is not where it is looked for"]),
        (None, [], ["checkpoint of step 3 is not where it is looked for"]),
    ],
    ids=["a name", "the one without a state", "several at once", "none"],
)
def test_a_trial_s_checkpoint_is_in_its_own_folder(
    tmp_path: Path, name: str | None, there: list[str], told: list[str], recwarn: pytest.WarningsRecorder
) -> None:
    """As in a search of hyperparameters."""
    work = trainer(tmp_path, METHODS["imp"], bert())
    places = [tmp_path / trial / "checkpoint-3" for trial in there]
    for place in places:
        place.mkdir(parents=True)
    if there[:1] == ["run-0"]:
        (places[0] / checkpoints.FILE).write_text("of the trial before")
    (callback,) = (c for c in work.callback_handler.callbacks if isinstance(c, nk.PruningCallback))
    callback.on_train_begin(work.args, work.state, work.control, model=work.model, optimizer=work.optimizer)
    state = transformers.TrainerState(global_step=3, is_hyper_param_search=True, trial_name=name)
    warnings.simplefilter("always")
    callback.on_save(work.args, state, work.control)
    assert [told[0] in str(each.message) for each in recwarn.list if each.category is NotSaved] == [True] * len(told)
    if not told:
        assert checkpoints.read(places[-1], Ranks.alone())["steps"] == 0


def test_a_cut_is_refused_where_processes_hold_replicas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work, masked = (trainer(tmp_path, method, bert()) for method in (CUTTING, METHODS["imp"]))
    monkeypatch.setattr("niwaki.train.hugging.Ranks.here", lambda: SimpleNamespace(size=2))
    with pytest.raises(BadInput, match=r"greg1 cuts, and DistributedDataParallel, .* or use a loop of Accelerate"):
        work.train()
    assert work.state.global_step == 0
    monkeypatch.setattr("niwaki.train.engine.Ranks.here", Ranks.alone)
    monkeypatch.setattr("niwaki.train.hugging.fully_sharded", lambda model: True)
    for each in (masked, trainer(tmp_path, CUTTING, bert())):
        (callback,) = (c for c in each.callback_handler.callbacks if isinstance(c, nk.PruningCallback))
        callback.on_train_begin(each.args, each.state, each.control, model=each.model, optimizer=each.optimizer)


def test_too_few_steps_are_told_before_any_is_spent(tmp_path: Path) -> None:
    work = trainer(tmp_path, METHODS["imp"], bert(), max_steps=3)
    with pytest.raises(BadInput, match="imp takes 6 steps of the optimizer, and the Trainer would make 3"):
        work.train()


def test_a_best_model_at_the_end_is_refused(tmp_path: Path) -> None:
    """The dense one may be the best, and would be loaded over the pruned one."""
    work = trainer(tmp_path, METHODS["imp"], bert(), eval_strategy="no")
    work.args.load_best_model_at_end = True
    with pytest.raises(BadInput, match=r"imp has made.* Set load_best_model_at_end=False, and .* \(step 6 or later\)"):
        work.train()
    assert work.state.global_step == 0
    at_once = nk.PruningCallback(nk.methods.nm("2:4"))  # every checkpoint has its zeros
    optimizer = torch.optim.SGD(work.model.parameters(), lr=0.1)
    at_once.on_train_begin(work.args, work.state, work.control, model=work.model, optimizer=optimizer)
    assert at_once.run is not None


def test_what_is_no_method_is_refused() -> None:
    with pytest.raises(BadInput, match=r"method must come from nk.methods, not str"):
        nk.PruningCallback("imp")


# -- a job that was killed ----------------------------------------------------------------------------------------


def test_the_last_checkpoint_is_the_newest_that_is_whole(tmp_path: Path) -> None:
    """Whichever file of it was cut short; and one that is named all the same says which is whole."""
    assert nk.last_checkpoint(tmp_path / "none") is None
    whole = trainer(tmp_path, METHODS["imp"], bert())
    whole.train()
    (tmp_path / "runs").mkdir()
    last, before = tmp_path / "checkpoint-6", tmp_path / "checkpoint-5"
    assert nk.last_checkpoint(tmp_path) == last
    for file in sorted(last.iterdir()):
        data = file.read_bytes()
        for rest in (None, data[: len(data) // 2]):
            file.unlink() if rest is None else file.write_bytes(rest)
            with pytest.warns(Damaged, match="checkpoint-6"):
                assert nk.last_checkpoint(tmp_path) == before, f"{file.name} is not whole"
        file.write_bytes(data)
    state = last / "niwaki_pruning.pt"
    state.write_bytes(state.read_bytes()[:-1])
    again = trainer(tmp_path, METHODS["imp"], bert())
    with pytest.raises(BrokenFile, match=rf"cut short.*Go on from {re.escape(str(before))}, the newest beside it"):
        again.train(resume_from_checkpoint=str(last))
    with pytest.warns(Damaged):
        place = nk.last_checkpoint(tmp_path)
    again = trainer(tmp_path, METHODS["imp"], bert())
    again.train(resume_from_checkpoint=str(place))
    assert differing(weights(whole.model), weights(again.model)) == []


class Alike:
    """A run as one of several ranks has it."""

    def __init__(self, rank: int, size: int, drawn: Any) -> None:
        self.ranks: Any = SimpleNamespace(rank=rank, size=size)
        self.model = nn.Linear(2, 2)
        self.drawn = drawn

    def whole_state(self) -> dict[str, Any]:
        return {"rank": self.ranks.rank, "drawn": self.drawn}


def test_what_each_rank_has_of_its_own_it_keeps(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint-3"
    folder.mkdir()
    for rank in (1, 0):
        checkpoints.write(Alike(rank, 2, {"seen": rank}), folder)  # type: ignore[arg-type]
    ranks: list[Any] = [SimpleNamespace(rank=rank, size=2) for rank in (0, 1)]
    assert [checkpoints.read(folder, each)["drawn"] for each in ranks] == [{"seen": 0}, {"seen": 1}]
    assert nk.last_checkpoint(tmp_path) == folder
    with pytest.raises(BadInput, match="states of 2 ranks, each with its own part, and here are 1"):
        checkpoints.read(folder, Ranks.alone())
    (folder / "niwaki_pruning.rank1of2.pt").unlink()
    with pytest.warns(Damaged, match=r"rank1of2.pt cannot be read"):
        assert nk.last_checkpoint(tmp_path) is None


def test_what_all_ranks_have_alike_is_written_once(tmp_path: Path) -> None:
    for rank in (0, 1):
        checkpoints.write(Alike(rank, 2, {}), tmp_path)  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["niwaki_pruning.pt"]
    for size in (1, 2, 3):
        assert checkpoints.read(tmp_path, SimpleNamespace(rank=size - 1, size=size))["rank"] == 0  # type: ignore


def test_sharded_states_are_each_rank_s_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "fully_sharded", lambda model: True)
    for rank in (0, 1):
        checkpoints.write(Alike(rank, 2, {}), tmp_path)  # type: ignore[arg-type]
    assert len(list(tmp_path.iterdir())) == 2


def test_generators_that_other_ranks_are_writing_are_held_to_no_size(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint-3"
    folder.mkdir()
    for name in ("rng_state_1.pth", "model.safetensors"):
        (folder / name).write_text("half")
    checkpoints.write(Alike(0, 2, {}), folder)  # type: ignore[arg-type]
    (folder / "rng_state_1.pth").write_text("the whole")
    assert nk.last_checkpoint(tmp_path) == folder
    (folder / "model.safetensors").write_text("another size")
    with pytest.warns(Damaged, match=r"model.safetensors has 12 bytes"):
        assert nk.last_checkpoint(tmp_path) is None


def test_folders_of_other_kinds_are_passed_over(tmp_path: Path) -> None:
    for name in ("runs2", "images-2024", "step_7", "step_9"):
        (tmp_path / name).mkdir()
    assert nk.last_checkpoint(tmp_path) is None
    checkpoints.write(Alike(0, 1, {}), tmp_path / "step_7")  # type: ignore[arg-type]
    with pytest.warns(Damaged) as told:
        assert nk.last_checkpoint(tmp_path) == tmp_path / "step_7"
    assert ["step_9" in str(each.message) for each in told] == [True]


@pytest.mark.parametrize("found", [{"version": 1}, {"version": 1, "run": {}, "beside": 3, "ranks": 1}, [1]])
def test_a_file_of_another_kind_is_told(tmp_path: Path, found: Any) -> None:
    seal(found, tmp_path / checkpoints.FILE)
    with pytest.raises(BrokenFile, match="holds no state of a run"):
        checkpoints.read(tmp_path, Ranks.alone())


def test_a_folder_to_go_on_from_must_be_one(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no niwaki_pruning.pt in .*missing"):
        trainer(tmp_path, METHODS["imp"], bert(), resume_from=tmp_path / "missing")
    place = tmp_path / "checkpoint-3"
    place.mkdir()
    model = bert()
    run = nk.Pruning(model, torch.optim.SGD(model.parameters()), METHODS["imp"], model.dummy_inputs)
    checkpoints.write(run, place)
    work = trainer(tmp_path, METHODS["imp"], bert(), resume_from=place)
    with pytest.raises(BadInput, match=r"the Trainer begins at step 0. Give both the same folder"):
        work.train()


def test_a_state_that_finds_no_room_does_not_end_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(state: Any, path: Path) -> None:
        raise CannotWrite(f"{path} cannot be written: the disk is full")

    work = trainer(tmp_path, METHODS["imp"], bert(), save_steps=3)
    monkeypatch.setattr("niwaki.train.checkpoints.seal", full)
    with pytest.warns(NotSaved, match=r"checkpoint-\d is a checkpoint without the state of the run"):
        work.train()
    assert work.state.global_step == STEPS
    with pytest.warns(Damaged):
        assert nk.last_checkpoint(tmp_path) is None


def test_a_single_checkpoint_is_warned_of(tmp_path: Path) -> None:
    work = trainer(tmp_path, METHODS["imp"], bert(), save_total_limit=1)
    with pytest.warns(UserWarning, match="save_total_limit=1: the Trainer removes the old checkpoint before"):
        work.train()


class Halt(transformers.TrainerCallback):  # type: ignore[misc]
    def on_step_end(self, args: Any, state: Any, control: Any, **live: Any) -> None:
        control.should_training_stop = state.global_step >= 3


def test_a_training_that_ends_early_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = trainer(tmp_path, METHODS["imp"], bert(), save_strategy="no")
    made.add_callback(Halt())
    made.train()
    (told,) = [message for message in caplog.messages if "has stopped" in message]
    assert told.startswith("the Trainer has stopped at step 3, and imp was not done: it takes at most 6 steps.")
    caplog.clear()
    trainer(tmp_path, METHODS["imp"], bert(), save_strategy="no").train()
    assert not [message for message in caplog.messages if "has stopped" in message]
