"""The functions that recipes name: where they look, what they give, and how they tell what is missing."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from niwaki.errors import BadInput
from niwaki.vision.jobs import cifar, imagenet, place, training
from tests.vision.jobs.data import cifar10, pictures

pytestmark = pytest.mark.usefixtures("own_data")


# Where.


def test_the_device_is_what_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert place.device() == torch.device("cpu")
    monkeypatch.setenv("NIWAKI_DEVICE", "meta")
    assert place.device() == torch.device("meta")
    monkeypatch.setenv("NIWAKI_DEVICE", "gpu")
    with pytest.raises(BadInput, match="NIWAKI_DEVICE is 'gpu', which is no device; say cpu"):
        place.device()
    monkeypatch.setenv("NIWAKI_DEVICE", "cuda:99")
    with pytest.raises(BadInput, match="NIWAKI_DEVICE is 'cuda:99', and PyTorch finds"):
        place.device()


@pytest.mark.parametrize(("there", "found"), [(True, "cuda"), (False, "cpu")])
def test_without_a_word_it_is_cuda_if_there_is_one(monkeypatch: pytest.MonkeyPatch, there: bool, found: str) -> None:
    monkeypatch.delenv("NIWAKI_DEVICE")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: int(there))
    assert place.device().type == found


def test_missing_data_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=f"There is no folder {tmp_path}/cifar10; put the data set there, or set NIWAKI"):
        cifar.batches()
    with pytest.raises(BadInput, match=f"There is no folder {tmp_path}/imagenet;"):
        imagenet.batches()
    monkeypatch.delenv("NIWAKI_DATA")
    with pytest.raises(BadInput, match="NIWAKI_DATA is not set; set it to the folder in which cifar10/ lies"):
        cifar.batches()


def test_networks_are_laid_out_channels_last() -> None:
    for model in (cifar.resnet(8), imagenet.resnet(34, 2)):
        assert model.conv1.weight.is_contiguous(memory_format=torch.channels_last)
        assert not model.conv1.weight.is_contiguous()
    with pytest.raises(BadInput, match="no ImageNet ResNet of depth 18 here; take 34 or 50"):
        imagenet.resnet(18)


def test_float32_stays_float32_on_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.backends.cudnn.flags(allow_tf32=True):
        cifar.resnet(8)
        assert torch.backends.cudnn.allow_tf32
        monkeypatch.setattr(place, "device", lambda: torch.device("cuda"))
        monkeypatch.setattr(torch.nn.Module, "to", lambda self, *a, **k: self)
        cifar.resnet(8)
        assert not torch.backends.cudnn.allow_tf32


# What.


def test_batches_of_cifar_are_seeded_and_of_the_size(tmp_path: Path) -> None:
    cifar10(tmp_path)
    one, same, other = (list(cifar.batches(size=8, seed=seed)) for seed in (1, 1, 2))
    assert len(one) == 6
    assert one[0][0].shape == (8, 3, 32, 32)
    assert one[0][0].is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(one[0][0], same[0][0])
    assert not torch.equal(one[0][0], other[0][0])


def test_the_second_epoch_of_a_seed_is_not_the_first_of_the_next(tmp_path: Path) -> None:
    cifar10(tmp_path)
    run = cifar.batches(size=50, seed=1)
    list(run)
    assert not torch.equal(next(iter(run))[1], next(iter(cifar.batches(size=50, seed=2)))[1])


def test_accuracy_of_cifar_is_of_the_test_images(tmp_path: Path) -> None:
    cifar10(tmp_path)
    model = cifar.resnet(8).eval()
    images = cifar.images("cifar10")
    assert cifar.accuracy(model) == images.accuracy(model)
    assert cifar.images("cifar10") is images
    with pytest.raises(BadInput, match="No data set is called 'cifar1O'; did you mean 'cifar10'"):
        cifar.accuracy(model, "cifar1O")


def test_pictures(tmp_path: Path) -> None:
    pictures(tmp_path)
    batches = imagenet.batches(size=4, side=32, workers=0, seed=1)
    x, y = next(iter(batches))
    assert x.shape == (4, 3, 32, 32)
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert int(y.max()) <= 2
    named = torch.nn.Linear(1, 1)
    named.forward = lambda x: torch.nn.functional.one_hot(torch.zeros(len(x), dtype=torch.long), 3)  # type: ignore[method-assign]
    assert imagenet.accuracy(named, size=2, side=32, workers=0) == pytest.approx(1 / 3)


def test_a_part_that_is_missing_is_told(tmp_path: Path) -> None:
    pictures(tmp_path, parts=("val",))
    with pytest.raises(BadInput, match="imagenet has no folder train; put the class folders of that part there"):
        imagenet.batches()


@pytest.mark.parametrize("pays", [True, False])
def test_the_loss_is_one_float32_number(monkeypatch: pytest.MonkeyPatch, pays: bool) -> None:
    monkeypatch.setattr(training, "bf16_pays", lambda device: pays)
    seen: list[torch.dtype] = []
    model = torch.nn.Linear(4, 3)
    model.register_forward_hook(lambda module, given, logits: seen.append(logits.dtype))
    x, y = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0, 1])
    loss = training.loss(model, (x, y))
    assert seen == [torch.bfloat16 if pays else torch.float32]
    assert (loss.dtype, loss.shape) == (torch.float32, ())
    exact = torch.nn.functional.cross_entropy(torch.nn.functional.linear(x, model.weight, model.bias), y)
    assert loss.item() == pytest.approx(exact.item(), rel=0.02)


def test_bfloat16_pays_where_the_hardware_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    assert training.bf16_pays("cpu")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False, raising=False)
    assert not training.bf16_pays("cpu")
    assert not training.bf16_pays("meta")


def test_a_teacher_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two classes, T = 2, share 3/4. The teacher's logits (2 ln 3, 0) give 3/4 and 1/4, the model's (0, 0) a half each.

    KL = 3/4 ln(3/2) + 1/4 ln(1/2), and the cross-entropy is ln 2.
    """
    monkeypatch.setattr(training, "bf16_pays", lambda device: False)
    x, y = torch.zeros(5, 3, 2, 2), torch.zeros(5, dtype=torch.int64)
    apart = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)

    def teacher(images: torch.Tensor) -> torch.Tensor:
        return torch.tensor([[2 * math.log(3), 0.0]]).expand(len(images), 2)

    def model(images: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(images), 2)

    found = training.taught_loss(model, teacher, (x, y), temperature=2.0, share=0.75)
    assert found.item() == pytest.approx(0.25 * math.log(2) + 0.75 * 4 * apart)
    assert training.taught_loss(model, model, (x, y), share=1.0).item() == pytest.approx(0.0, abs=1e-7)


def test_a_teacher_is_not_taught() -> None:
    model, teacher = (torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3)) for _ in range(2))
    training.taught_loss(model, teacher, (torch.randn(4, 3, 2, 2), torch.tensor([0, 1, 2, 0]))).backward()
    assert teacher[1].weight.grad is None
    assert model[1].weight.grad is not None
