"""The same on a GPU. Every test here needs one, and says so where there is none."""

from __future__ import annotations

import pytest
import torch
import torch.utils._pytree
from torch import Tensor

import niwaki as nk
from niwaki.testing.zoo import specimen
from niwaki.vision.images import Batches
from niwaki.vision.resnet_cifar import resnet

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
GPU = torch.device("cuda")
SPECIMENS = (
    "conv3d",
    "rotary_attention",
    "mobilenet_v2",
    "lstm_packed",
    "transformer_encoder",
    "data_dependent_if",
)


def there(value: object) -> object:
    """Inputs on the GPU."""
    return torch.utils._pytree.tree_map_only(Tensor, lambda t: t.to(GPU), value)


@pytest.mark.parametrize("name", SPECIMENS)
def test_a_model_on_the_gpu_is_cut_as_on_the_processor(name: str) -> None:
    plant = specimen(name)
    model, inputs = plant.build(), plant.inputs()
    wanted = nk.plan(nk.trace(model, inputs), nk.scores.Random(0), nk.Ratio(0.4))
    model, inputs = model.to(GPU), there(inputs)
    graph = nk.trace(model, inputs)
    plan = nk.plan(graph, nk.scores.Random(0), nk.Ratio(0.4))
    assert plan.removed == wanted.removed
    small = nk.cut(model, plan)
    assert all(t.is_cuda for t in small.parameters())
    certificate = nk.certify(model, plan, small, inputs, tolerance=1e-4, graph=graph)
    assert certificate.holds, str(certificate)


@pytest.mark.parametrize("of", ["units", "weights"])
def test_greg2_on_the_gpu_ends_as_on_the_processor(of: str) -> None:
    ends = []
    for device in ("cpu", GPU):
        torch.manual_seed(0)
        model = resnet(8).to(device)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
        target = nk.Ratio({"layer*": 0.5})
        method = nk.methods.greg2(target, pick_grow=0.01, pick_at=0.02, grow=0.5, every=1, hold=1, parted=None, of=of)
        images = torch.zeros(2, 3, 32, 32, device=device)
        run = nk.Pruning(model, optimizer, method, images)
        while not run.finished:
            for p in model.parameters():
                p.grad = torch.full_like(p, 0.01)
            run.step()
        ends.append([p.detach().cpu() for p in model.parameters()])
    assert [a.shape for a in ends[0]] == [b.shape for b in ends[1]]
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*ends, strict=True))


def test_batches_are_the_same_wherever_they_are_made() -> None:
    pixels = torch.randint(0, 256, (32, 3, 32, 32), dtype=torch.uint8)
    labels, look = torch.arange(32), {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)}
    here = Batches(pixels, labels, 8, 3, **look)
    away = Batches(pixels, labels, 8, 3, device=GPU, channels_last=True, **look)
    for (x, y), (u, v) in zip(here, away, strict=True):
        assert u.is_cuda
        assert torch.equal(y, v.cpu())
        assert torch.allclose(x, u.cpu(), atol=1e-5)


def test_a_packed_model_on_the_gpu_answers_as_the_masked_one() -> None:
    """In every form, float32 and bfloat16; dead units removed and constants folded there too."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(32, 64), torch.nn.GELU(), torch.nn.Linear(64, 16)).to(GPU).eval()
    with torch.no_grad():
        model[0].weight[:20] = 0
        model[2].weight *= torch.rand(16, 64, device=GPU) < 0.2
        model[2].weight[::2] = 0
    x = torch.randn(5, 32, device=GPU)
    measured = nk.pack(model, x, runs=3)
    assert nk.packing_of(measured).removed[0].constant == 20
    assert nk.certify_packed(model, measured, x).holds
    for form in nk.packing.FORMS[1:]:
        packed = nk.pack(model, x, forms=form)
        assert nk.certify_packed(model, packed, x, more=[torch.randn(300, 32, device=GPU)]).holds
        half, masked = packed.bfloat16(), nk.pack(model, x, forms={}).bfloat16()
        wanted = masked(x.bfloat16())
        assert (half(x.bfloat16()) - wanted).abs().max() <= 3e-2 * wanted.abs().max()
