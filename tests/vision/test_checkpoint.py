"""Checkpoints: what is read from them, what is refused, and that a published one does what it is said to."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from niwaki.errors import BadInput
from niwaki.vision.checkpoint import weights
from niwaki.vision.cifar import cifar10
from niwaki.vision.images import accuracy
from niwaki.vision.resnet_cifar import resnet
from tests.vision.real import real


class Surprise:
    """What a hostile file holds: reading it would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": s, "best_prec1": 91.5}])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_a_state_dict_is_found_and_fits(tmp_path: Path, wrap, prefix: str) -> None:
    model, other = resnet(8), resnet(8)
    torch.save(wrap({prefix + name: value for name, value in model.state_dict().items()}), tmp_path / "model.th")
    other.load_state_dict(weights(tmp_path / "model.th"))
    assert torch.equal(other.layer3[0].conv2.weight, model.layer3[0].conv2.weight)


def test_a_file_with_code_in_it_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"state_dict": Surprise(tmp_path / "touched")}, tmp_path / "model.th")
    with pytest.raises(BadInput, match=r"holds more than tensors and plain values .* nothing in it was run") as caught:
        weights(tmp_path / "model.th")
    assert "weights_only" not in str(caught.value)
    assert not (tmp_path / "touched").exists()


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(100)}, tmp_path / "model.th")
    whole = (tmp_path / "model.th").read_bytes()
    for content in (b"", b"nothing of the kind", whole[: len(whole) // 2]):
        (tmp_path / "model.th").write_bytes(content)
        with pytest.raises(BadInput, match="no checkpoint of plain tensors") as caught:
            weights(tmp_path / "model.th")
        assert "weights_only" not in str(caught.value)  # torch's own advice, which would run what is in it


@pytest.mark.parametrize("content", [torch.zeros(2), {}, {"epoch": 3}, {"state_dict": 5}])
def test_a_file_without_weights_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "model.th")
    with pytest.raises(BadInput, match="holds no state dict"):
        weights(tmp_path / "model.th")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"model\.th is missing"):
        weights(tmp_path / "model.th")


def test_the_published_resnet_20_names_as_many_right_as_it_is_said_to() -> None:
    """91.73 % of the test images; of the first 1,000, one standard error is 0.9 points."""
    model, images = resnet(20), cifar10(real("cifar10"))
    model.load_state_dict(weights(real("weights/resnet20-12fca82f.th")))
    share = accuracy(model, images.test[:1000], images.test_labels[:1000], mean=images.mean, std=images.std)
    assert share == pytest.approx(0.9173, abs=0.02)
