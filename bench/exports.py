"""Does what was exported compute what the model computes, at other sizes too, and does the file shrink?

    python bench/exports.py [--only NAME ...] [--resume]

Networks of the table of families, in their tiny sizes, dense and cut to 70 % of every group, in three formats. Batch
and, of tokens, sequence are to vary; where they cannot, the batch alone; where that cannot, nothing. Each file is
opened with what serves it and compared with the model on several inputs and sizes, as in a certificate.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from forked import told
from kept import read
from ledger import keep
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn

import niwaki as nk
from niwaki.errors import BadInput
from niwaki.surgery.exports import exported_checks
from niwaki.testing.families import Family, family

NETWORKS = (
    *("swin", "mixtral", "bert", "resnet", "llama", "vit", "mobilenet_v3", "gpt2", "convnext", "t5"),
    *("regnet", "distilbert", "unet", "qwen3", "whisper", "segformer", "efficientnet", "deberta_v2", "dinov2", "mamba"),
)
FORMATS = {"onnx": (nk.export.onnx, "onnx"), "torch_export": (nk.export.torch_export, "pt2")}
FORMATS |= {"openvino": (nk.export.openvino, "xml")}
VARYING = {"batch, sequence": ("batch", "sequence"), "batch": "batch", "nothing": False}
TOLERANCE = 1e-4
RATIO = 0.3
HOLDS, DIFFERS, REFUSED = "holds", "differs", "refused"


def measure(each: Family) -> Iterator[dict[str, Any]]:
    """A row for each format of the dense and of the cut network."""
    inputs = each.inputs()
    dense = each.build()
    plan = nk.plan(nk.trace(dense, inputs), nk.scores.L1(), nk.Ratio(RATIO))
    for which, model in (("dense", dense), ("cut", nk.cut(dense, plan))):
        for form in FORMATS:
            yield {"network": each.name, "model": which, "format": form, **exported(model, inputs, form)}


def exported(model: nn.Module, inputs: Any, form: str) -> dict[str, Any]:
    """Write the model with as much varying as can, and compare."""
    write, ending = FORMATS[form]
    trouble = ""
    with tempfile.TemporaryDirectory(prefix="niwaki-") as room:
        for name, dynamic in VARYING.items():
            try:
                path = write(model, inputs, Path(room) / f"model.{ending}", dynamic=dynamic)
            except BadInput as refusal:
                trouble = trouble or told(refusal)
                continue
            except Exception as bug:
                return {"verdict": REFUSED, "trouble": f"NOT IN OUR WORDS: {told(bug)}"}
            return {"varying": name, "trouble": trouble, **_compared(model, inputs, dynamic, path)}
    return {"verdict": REFUSED, "trouble": trouble}


def _compared(model: nn.Module, inputs: Any, dynamic: Any, path: Path) -> dict[str, Any]:
    file = nk.export.opened(path)
    try:
        checks = list(exported_checks("model", model, file, inputs, dynamic=dynamic, tolerance=TOLERANCE))
    except Exception as trouble:
        return {"verdict": DIFFERS, "detail": told(trouble)}
    forward = [check for check in checks if check.kind == "forward"]
    bad = next((check for check in checks if not check.holds), None)
    tensors = {id(t): t for t in [*model.parameters(), *model.buffers()]}
    return {
        "verdict": HOLDS if bad is None else DIFFERS,
        "detail": "" if bad is None else f"{bad.kind}, {bad.worst}: {bad.detail}",
        "inputs": len(forward),
        "worst": max((check.worst for check in forward if check.worst is not None), default=None),
        "model_bytes": sum(t.numel() * t.element_size() for t in tensors.values()),
        "weight_bytes": file.weight_bytes,
        "file_bytes": file.file_bytes,
    }


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The table in a few numbers."""
    done = len({row["network"] for row in rows})
    found: dict[str, Any] = {"networks": done, "of": len(NETWORKS), "files": len(rows)}
    for form in FORMATS:
        here = [row for row in rows if row["format"] == form]
        count = {verdict: sum(row["verdict"] == verdict for row in here) for verdict in (HOLDS, DIFFERS, REFUSED)}
        worst = [row["worst"] for row in here if row.get("worst") is not None]
        found[form] = {**count, "files": len(here), "worst": max(worst, default=None)}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these families; the result is printed and not kept")
    parser.add_argument("--resume", action="store_true", help="go on where a run was stopped")
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("niwaki").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    rows: list[dict[str, Any]] = _read() if args.resume and not args.only else []
    chosen = [family(name) for name in args.only or NETWORKS]
    bar = Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with bar:
        done = {row["network"] for row in rows}
        task = bar.add_task("", total=len(chosen), completed=len(done))
        for each in (each for each in chosen if each.name not in done):
            bar.update(task, description=f"{each.name:14}")
            rows += measure(each)
            if not args.only:
                _keep(rows)
            bar.advance(task)
    print(json.dumps(rows if args.only else summary(rows), indent=1))


def _keep(rows: Sequence[dict[str, Any]]) -> None:
    """After each network, so that a run that is stopped leaves what it found."""
    settings = {"removed": RATIO, "tolerance": TOLERANCE, "size": "tiny", "threads": 1, "runtimes": _versions()}
    with contextlib.redirect_stdout(io.StringIO()):
        keep("exports", summary(rows), {"settings": settings, "rows": rows})


def _read() -> list[dict[str, Any]]:
    found = read("exports")
    return found["raw"]["rows"] if found else []


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("onnx", "onnxscript", "onnxruntime", "openvino", "transformers")}


if __name__ == "__main__":
    main()
