"""What do the penalty of SPUR and masks add to a training step of an encoder?   python bench/spur_step.py [--runs 20]

Forward and backward in bfloat16, clipping and a step of AdamW on an encoder of MiniLM-L6's shape with random weights,
32 rows of 32 tokens: plain, under masks of 90 % (imp), and with each reading of the penalty beside no masks and beside
those; interleaved in one process on one thread, in changing order. Times are processor seconds, medians of all runs.
Expected: a penalty reads and writes each weight a few times, which is little beside 1,024 tokens' use of it: under 5 %.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from ledger import keep
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification

import niwaki as nk
from niwaki.methods import Method
from niwaki.text.finetuning import adamw

NAME = "spur_step"
WHERE = nk.Ratio(0.9, only="*.layer.*")
LONG = 1_000_000  # steps: the phase never ends here


def spur(**more: object) -> Method:
    return nk.methods.spur(WHERE, rounds=1, steps=LONG, **{"alpha": 1e-6, **more})


CONTESTANTS: dict[str, Method | None] = {
    "plain": None,
    "imp, 90 % masked": nk.methods.imp(WHERE, rounds=1, steps=LONG, dense=0),
    "group lasso": spur(),
    "group lasso, 90 % masked": spur(dense=0),
    "group lasso, proximal": spur(proximal=True),
    "scaled group lasso": spur(reading="scaled_group_lasso"),
    "relative unevenness": spur(reading="relative_unevenness"),
    "l1": spur(reading="l1"),
    "l2": spur(reading="l2"),
}


class Bench:
    """A model, its optimizer, and what is called in place of `optimizer.step`."""

    def __init__(self, method: Method | None) -> None:
        torch.manual_seed(0)
        config = BertConfig(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536)
        self.model: nn.Module = BertForSequenceClassification(config).train()
        self.optimizer = adamw(self.model, 1e-6)
        self.step: Callable[[], object] = self.optimizer.step
        if method is not None:
            self.step = nk.Pruning(self.model, self.optimizer, method, ()).step

    def run(self, batch: dict[str, Tensor]) -> float:
        """Processor seconds of a step."""
        start = time.process_time()
        self.optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = self.model(**batch).loss
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.step()
        return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    runs = parser.parse_args().runs
    torch.set_num_threads(1)
    torch.manual_seed(1)
    batch = {"input_ids": torch.randint(0, 30522, (32, 32)), "labels": torch.randint(0, 2, (32,))}
    benches = {name: Bench(method) for name, method in CONTESTANTS.items()}
    spent: dict[str, list[float]] = {name: [] for name in benches}
    names = list(benches)
    for k in range(runs + 2):
        for name in names[k % len(names) :] + names[: k % len(names)]:
            taken = benches[name].run(batch)
            if k > 1:  # the first step makes masks and moments
                spent[name].append(taken)
    plain = statistics.median(spent["plain"])
    figures = {
        name: {"core_s": round(statistics.median(times), 4), "added": round(statistics.median(times) / plain - 1, 4)}
        for name, times in spent.items()
    }
    keep(NAME, figures, spent)


if __name__ == "__main__":
    main()
