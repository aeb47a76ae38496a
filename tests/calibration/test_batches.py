"""How batches are read, and how many samples are drawn of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import niwaki as nk
from niwaki.calibration.batches import Source, read
from niwaki.calibration.calibration import SAMPLES
from niwaki.calibration.failing import told_of
from niwaki.errors import BadInput
from niwaki.methods.view import Sampling
from tests.calibration.nets import perceptron

X, Y, LABELS = torch.rand(3, 2), torch.rand(3, 4), torch.tensor([0, 1, 2])


@pytest.mark.parametrize(
    ("batch", "inputs", "args", "names"),
    [
        (X, X, 1, []),
        ((X, LABELS), X, 1, []),
        ([X, LABELS], X, 1, []),
        ((X,), X, 1, []),
        ((X, Y), (X, Y), 2, []),
        ((X, Y, LABELS), (X, Y), 2, []),
        ({"x": X, "y": Y}, {"x": X}, 0, ["x", "y"]),
        (({"x": X}, LABELS), {"x": X}, 0, ["x"]),
        ({"x": X}, X, 0, ["x"]),
        (({"x": X},), ({"x": X},), 1, []),
    ],
)
def test_a_batch_is_called_as_the_inputs_are(batch: Any, inputs: Any, args: int, names: list[str]) -> None:
    found = read(batch, inputs)
    assert (len(found.args), list(found.kwargs), found.size) == (args, names, 3)
    assert found.given is batch


def test_the_first_samples_of_what_is_as_long_as_the_batch() -> None:
    found = read(({"x": X, "bias": torch.ones(2, 4), "deep": [Y]}, LABELS), {"x": X}).first(2)
    assert {k: len(v) for k, v in found.kwargs.items() if k != "deep"} == {"x": 2, "bias": 2}
    assert len(found.kwargs["deep"][0]) == 2
    assert len(found.given[1]) == found.size == 2


def test_what_all_samples_share_is_not_cut() -> None:
    """A vector that happens to be as long as the batch: in ``inputs`` it is as long, where there are fewer samples."""
    shared, images = torch.ones(3), (torch.rand(2, 2), torch.rand(3))
    (found,) = Source([(X, shared)], images).samples(2)
    assert [len(t) for t in found.args] == [2, 3]
    (found,) = Source([(X, LABELS.float())], (torch.rand(2, 2), torch.rand(2))).samples(2)
    assert [len(t) for t in found.args] == [2, 2]
    (found,) = Source([(X, shared, LABELS)], images).samples(2)
    assert [len(t) for t in found.given] == [2, 3, 2]


def test_entries_without_names_are_not_taken_for_labels() -> None:
    """Ids and a mask of a loader, before a model that is called by keywords: the mask would be lost."""
    keywords = {"input_ids": X, "attention_mask": X}
    for batch in ((X, X), (X, X, LABELS), (X,)):
        with pytest.raises(
            BadInput, match=r"the keywords input_ids, attention_mask, and a batch of data is a tuple of"
        ):
            read(batch, keywords)
    assert list(read((keywords, LABELS), keywords).kwargs) == ["input_ids", "attention_mask"]


@pytest.mark.parametrize("data", [[X, None, X], [None, X]])
def test_nothing_is_no_batch_and_not_the_end_of_the_data(data: list[Any]) -> None:
    with pytest.raises(BadInput, match=r"a batch of data must be a tensor, a tuple .* not NoneType"):
        list(Source(data, X).samples(99))
    with pytest.raises(BadInput, match="not NoneType"):
        list(Source(data, X).next_samples(99))


@pytest.mark.parametrize(
    ("data", "advice"),
    [
        (TensorDataset(X), r"data=torch.utils.data.DataLoader\(dataset, batch_size=64\)"),
        (lambda: [X], "not one function: call it, and give what it returns"),
        (X, r"not one Tensor: put a single batch in a list, or split it: data=images.split\(64\)"),
    ],
)
def test_what_is_no_iterable_of_batches_is_told_the_way(data: Any, advice: str) -> None:
    with pytest.raises(BadInput, match=advice):
        Source(data, X)


def test_an_iterable_data_set_may_give_batches() -> None:
    class Stream(IterableDataset[torch.Tensor]):
        def __iter__(self) -> Iterator[torch.Tensor]:
            return iter([X, X + 1])

    assert [b.size for b in Source(Stream(), X).samples(99)] == [3, 3]


def test_keywords_that_are_no_tensors_name_no_entry() -> None:
    assert len(read((X, LABELS), {"x": X, "return_dict": False}).args) == 1
    assert len(read((X, LABELS), {"x": X, "cache": None}).args) == 1


class Failing(nn.Module):
    def __init__(self, trouble: Exception) -> None:
        super().__init__()
        self.layers, self.trouble = perceptron(), trouble
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) == 5:
            raise self.trouble
        return self.layers(x)


def test_keywords_in_another_order_are_the_same_form() -> None:
    shown = {"a": X, "b": Y}
    batch = read({"b": torch.rand(5, 4), "a": torch.rand(5, 2)}, shown)
    with pytest.raises(RuntimeError, match=r"^a kernel failed$"), told_of(batch, shown, "the first batch"):
        raise RuntimeError("a kernel failed")


@pytest.mark.parametrize(
    ("trouble", "width"), [(torch.OutOfMemoryError("no room"), 9), (RuntimeError("a kernel failed"), 6)]
)
def test_troubles_that_are_not_the_batchs_stay_what_they_are(trouble: Exception, width: int) -> None:
    """Memory may run out on a batch of another form than inputs, too."""
    with pytest.raises(type(trouble), match=f"^{trouble}$"):
        nk.prune(Failing(trouble), torch.rand(1, 6), nk.methods.topk(nk.Ratio(0.5)), data=[torch.rand(5, width)])


@pytest.mark.parametrize(
    ("batch", "trouble", "told"),
    [
        ({"input": torch.rand(4, 6), "label": LABELS}, "unexpected keyword argument 'label'", "label=int64[3]"),
        (torch.rand(4, 6, dtype=torch.float64), "RuntimeError: mat1 and mat2", "The batch is float64[4, 6]; inputs"),
        (((torch.rand(4, 6), torch.rand(4, 6)), LABELS), "TypeError: ", "(float32[4, 6], float32[4, 6])"),
    ],
)
def test_a_batch_with_which_the_model_cannot_be_called_is_shown(batch: Any, trouble: str, told: str) -> None:
    with pytest.raises(BadInput, match="the model cannot be called with the first batch of data: ") as caught:
        nk.prune(perceptron(), torch.rand(1, 6), nk.methods.topk(nk.Ratio(0.5)), data=[batch])
    assert trouble in str(caught.value)
    assert told in str(caught.value)
    assert "with which the model was traced, is float32[1, 6]" in str(caught.value)


def test_samples_come_from_the_beginning_and_fresh_ones_go_on() -> None:
    source = Source([X + k for k in range(3)], X)
    assert [b.size for b in source.samples(7)] == [3, 3, 1]
    assert [b.size for b in source.samples(99)] == [3, 3, 3]
    drawn = [float(b.args[0][0, 0] - X[0, 0]) for _ in range(4) for b in source.next_samples(3)]
    assert drawn == pytest.approx([0, 1, 2, 0], abs=1e-6)
    again = Source(source.data, X)
    again.load_state_dict(source.state_dict())
    (one,), (other,) = list(source.next_samples(3)), list(again.next_samples(3))
    assert torch.equal(one.args[0], other.args[0])


def test_a_pass_that_the_process_shuffles_is_drawn_again_as_it_was() -> None:
    """Each pass begins with what training has left of the process's generator."""
    loader = DataLoader(TensorDataset(torch.arange(10.0)[:, None]), batch_size=2, shuffle=True)
    torch.manual_seed(3)
    source = Source(loader, X)
    for _ in range(4):
        torch.rand(5)
        list(source.next_samples(4))
    kept, here = source.state_dict(), torch.get_rng_state()
    wanted = [b.args[0] for b in source.next_samples(4)]
    torch.manual_seed(99)
    again = Source(loader, X)
    torch.set_rng_state(here)
    again.load_state_dict(kept)
    assert torch.equal(torch.get_rng_state(), here)
    assert all(map(torch.equal, [b.args[0] for b in again.next_samples(4)], wanted))


def test_a_loader_that_starts_anew_is_gone_through_once() -> None:
    starts = []

    class Loader:
        def __iter__(self) -> Any:
            starts.append(1)
            return iter([X, X])

    assert sum(b.size for b in Source(Loader(), X).samples(100)) == 6
    assert len(starts) == 1


@pytest.mark.parametrize(("samples", "told"), [(6, False), (7, True), (1280, False)])
def test_fewer_samples_than_were_chosen_are_told(samples: int, told: bool, caplog: pytest.LogCaptureFixture) -> None:
    """The usual number, which nobody chose, stands for all that there are."""
    model = perceptron()
    x = torch.rand(3, 6)
    method = nk.methods.ispasp(nk.Ratio(0.5), samples=samples, iters=1)
    nk.prune(model, x, method, data=[x, x])
    assert ("7 samples of data were asked for, and there are 6: all of them are looked at" in caplog.text) is told
    assert Sampling().samples == SAMPLES


def test_a_generator_is_not_read_twice() -> None:
    """What is left of it is not its beginning: neither for a second look at the first samples, nor for a loss."""
    source = Source(iter([X, X + 1, X + 2]), X)
    assert [b.size for b in source.samples(4)] == [3, 1]
    with pytest.raises(BadInput, match=r"first 4 samples .* a list_iterator, can be read once and has been: .* a list"):
        list(source.samples(4))
    x, seen = torch.rand(30, 6), []

    def loss(model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
        seen.append(len(batch))
        return model(batch).square().mean()

    method = nk.methods.michel(nk.Ratio(0.5), samples=20)
    nk.prune(perceptron(), x[:1], method, data=x.split(5), loss=loss)
    assert seen == [5] * 4
    seen.clear()
    with pytest.raises(BadInput, match=r"a generator, can be read once"):
        nk.prune(perceptron(), x[:1], method, data=(part for part in x.split(5)), loss=loss)
    assert not seen


def firsts(source: Source, count: int) -> list[int]:
    """Which batches a draw holds, by their first samples."""
    return [round(float(b.args[0][0, 0])) for b in source.next_samples(count)]


def test_a_draw_of_fresh_samples_ends_with_a_whole_pass() -> None:
    """Data smaller than a draw is not repeated in it; a pass that merely ends in a draw goes on from the beginning."""
    data = [torch.full((3, 2), float(k)) for k in range(3)]
    source = Source(data, X)
    assert [firsts(source, n) for n in (6, 6, 9, 100)] == [[0, 1], [2, 0], [1, 2, 0], [1, 2, 0, 1, 2]]
    assert [firsts(source, n) for n in (100, 10, 9, 4)] == [[0, 1, 2], [0, 1, 2], [0, 1, 2], [0, 1]]
    assert sum(b.size for b in Source(data, X).next_samples(1280)) == 9


def test_draws_of_whole_passes_go_on_bit_for_bit() -> None:
    loader = DataLoader(TensorDataset(torch.arange(6.0)[:, None]), batch_size=2, shuffle=True)
    for draws in range(1, 4):
        torch.manual_seed(5)
        source = Source(loader, X)
        for count in (3, 99, 99)[:draws]:
            torch.rand(2)
            list(source.next_samples(count))
        kept, here = source.state_dict(), torch.get_rng_state()
        wanted = [b.args[0].tolist() for n in (3, 99) for b in source.next_samples(n)]
        torch.manual_seed(99)
        again = Source(loader, X)
        torch.set_rng_state(here)
        again.load_state_dict(kept)
        assert [b.args[0].tolist() for n in (3, 99) for b in again.next_samples(n)] == wanted


def test_fewer_fresh_samples_than_were_chosen_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    method = nk.methods.ispasp(nk.Ratio(0.5), samples=7, iters=2, fresh=True)
    x = torch.rand(3, 6)
    nk.prune(perceptron(), x, method, data=[x, x])
    assert caplog.text.count("7 samples of data were asked for, and there are 6: all of them are looked at") == 1


def test_a_later_batch_of_another_form_is_told_by_its_number() -> None:
    x = torch.rand(2, 6)
    with pytest.raises(BadInput, match=r"cannot be called with batch 2 \(the first is 0\) of data: Run") as caught:
        nk.prune(perceptron(), x, nk.methods.topk(nk.Ratio(0.5)), data=[x, x, torch.rand(2, 5)])
    assert "The batch is float32[2, 5]; inputs" in str(caught.value)


@pytest.mark.parametrize("samples", [[torch.rand(6)], [torch.rand(2, 6), torch.rand(6)]])
def test_a_sample_that_stands_alone_is_no_batch(samples: list[torch.Tensor]) -> None:
    told = rf"on batch {len(samples) - 1} of data .* layer '2' .* shape \[12\], .* no dimension of samples: .*\[None\]"
    with pytest.raises(BadInput, match=told):
        nk.prune(perceptron(), torch.rand(2, 6), nk.methods.topk(nk.Ratio(0.5)), data=samples)
