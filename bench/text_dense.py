"""Fine-tune an encoder on a task and keep how good it is.

    NIWAKI_DATA=DATA python bench/text_dense.py sst2 ENCODER --out FOLDER --epochs 1 --lr 5e-5 --seeds 0

ENCODER is a local folder of Hugging Face's form; the fine-tuned ones go to FOLDER/ENCODER-TASK-SEED, outside the
repository, and load with from_pretrained. A run that was broken off goes on where it was when the same command is given
again, and one that is finished is not made again. Figures join those of other tasks and seeds in
bench/results/text_dense.json. With several epochs the last one counts: nothing is chosen on the part that is reported.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from ledger import RESULTS, environment, keep

from niwaki.place import bf16_pays, device
from niwaki.savepoints import Savepoints
from niwaki.text.answers import measured
from niwaki.text.batches import tokenised, tokenizer
from niwaki.text.encoders import classifier
from niwaki.text.finetuning import Finetuning, Settings, finetune
from niwaki.text.tasks import Task, task

NAME = "text_dense"


def main() -> None:
    asked = arguments()
    for seed in asked.seeds:
        settings = Settings(asked.epochs, asked.lr, asked.size, seed=seed)
        place = asked.out / f"{asked.encoder.name}-{asked.task}-{seed}"
        row = place / "figures.json"
        if not row.is_file():
            found = one(task(asked.task), asked.encoder, settings, asked.max_length, place, asked.rows)
            row.write_text(json.dumps(found, indent=1))
        join(json.loads(row.read_text()))


def one(job: Task, encoder: Path, settings: Settings, max_length: int, place: Path, rows: int | None) -> dict[str, Any]:
    """Fine-tune once; the row of figures."""
    place.mkdir(parents=True, exist_ok=True)
    tokens = tokenizer(encoder)
    train, reported = (tokenised(job.read(part), tokens, max_length) for part in ("train", job.reported))
    train = train if rows is None else train.rows(rows)
    model = classifier(encoder, job.classes or 1, settings.seed).to(device())
    start, cpu = time.perf_counter(), time.process_time()
    run = Finetuning(model, train, settings)
    history = finetune(run, place / "checkpoint.pt", tell=_tell(f"{job.name}-{settings.seed}"))
    seconds = {"wall_s": time.perf_counter() - start, "core_s": time.process_time() - cpu}
    model.save_pretrained(place)
    tokens.save_pretrained(place)
    Savepoints.beside(place / "checkpoint.pt").clear()
    return {
        "task": job.name,
        "encoder": encoder.name,
        "seed": settings.seed,
        "trained_on": list(job.files["train"]),
        "reported_on": list(job.files[job.reported]),
        "rows": [len(train), len(reported)],
        "settings": {name: getattr(settings, name) for name in ("epochs", "lr", "size", "warmup", "weight_decay")},
        "max_length": max_length,
        "bf16": bf16_pays(str(device().type)),
        "loss": [row["loss"] for row in history],
        "measures": measured(model, reported, job.metrics),
        "seconds_of_the_last_start": seconds,
        "environment": environment(),
    }


def join(row: dict[str, Any]) -> None:
    """The row in place of one of the same task, encoder and seed."""
    path = RESULTS / f"{NAME}.json"
    rows = json.loads(path.read_text())["raw"] if path.is_file() else []
    key = ("task", "encoder", "seed")
    rows = [old for old in rows if any(old[k] != row[k] for k in key)] + [row]
    rows.sort(key=lambda r: [r[k] for k in key])
    keep(NAME, {f"{r['encoder']} {r['task']} seed {r['seed']}": r["measures"] for r in rows}, rows)


def _tell(name: str) -> Any:
    start = time.perf_counter()

    def tell(done: int, steps: int, loss: float) -> None:
        if done % 50 == 0 or done == steps:
            print(f"{name}: step {done} of {steps}, loss {loss:.3f}, {time.perf_counter() - start:.0f} s", flush=True)

    return tell


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task")
    parser.add_argument("encoder", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="folder for the fine-tuned encoders")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--lr", type=float, default=5e-5)
    parser.add_argument("--size", type=int, default=32, help="rows in a batch")
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--rows", type=int, help="use only so many of the training part")
    parser.add_argument("--threads", type=int, default=1)
    found = parser.parse_args()
    torch.set_num_threads(found.threads)
    return found


if __name__ == "__main__":
    sys.exit(main())
