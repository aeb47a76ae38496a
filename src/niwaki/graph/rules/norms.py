"""Normalisations: batch norm follows its channels; layer, group and RMS norms average over them."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from niwaki.graph.call import Call
from niwaki.graph.labels import Atoms, Label
from niwaki.graph.rules import rule


def _follow(call: Call, label: Label, names: Sequence[str]) -> Label:
    """Tie the label with the vectors of those names and keep the activations' own atoms.

    With a weight the result vanishes when masked; without one, only where the input does.
    """
    vectors = [call.labels(t)[0] for n in names if isinstance(t := call.get(n), Tensor)]
    met = call.meet([label, *vectors])
    if not isinstance(met, Atoms):
        return met
    weighted = isinstance(call.get("weight"), Tensor)
    return Atoms(met.ids, weighted or (isinstance(label, Atoms) and label.clean))


@rule("batch_norm", "instance_norm", "native_batch_norm", "_native_batch_norm_legit_no_training")
def batch_norm(call: Call) -> None:
    x = call["input"]
    labels = call.labels(x)
    where = 1 if x.dim() > 1 else 0
    labels[where] = _follow(call, labels[where], ("weight", "bias", "running_mean", "running_var"))
    instance = call.op == "instance_norm"
    if call.get("use_input_stats") if instance else call.get("training"):
        for k in range(2 if instance else 0, x.dim()):
            labels[k] = labels[k] if k == where else call.statistics(labels[k], k)
    call.give(call.results()[0], labels)


@rule("layer_norm", "rms_norm")
def layer_norm(call: Call) -> None:
    x, shape = call["input"], call["normalized_shape"]
    labels = call.labels(x)
    first = x.dim() - len(shape)
    for k in range(first, x.dim()):
        call.mixes(labels, k)
        vectors = [call.labels(t)[k - first] for n in ("weight", "bias") if isinstance(t := call.get(n), Tensor)]
        met = call.meet([call.statistics(labels[k], k), *vectors])
        labels[k] = Atoms(met.ids, True) if isinstance(met, Atoms) else met
        call.hint(met, "normed")
    call.give(call.out, labels)


@rule("group_norm")
def group_norm(call: Call) -> None:
    """Channels as (group, channel in group): equally many must stay in each, and their statistics change."""
    x, groups = call["input"], call["num_groups"]
    labels = call.labels(x)
    label = _follow(call, labels[1], ("weight", "bias"))
    if isinstance(label, Atoms) and groups < label.ids.size:
        label = call.statistics(Atoms(label.ids, True), 1)
        if groups == 1:
            call.hint(label, "normed")
    if isinstance(label, Atoms) and groups < label.ids.size:
        call.ledger.balance(list(label.ids.reshape(groups, -1)), call.site)
    labels[1] = label
    call.give(call.out, labels)
