"""Write the figures of README.md and of the pages in docs that show some, from bench/results.

python bench/figures.py [--check]
"""

from __future__ import annotations

import sys
from pathlib import Path

import figures_disk as disk
import figures_exports as exports
import figures_faults as faults
import figures_ispasp as ispasp
import figures_packing as packing
import figures_scale as scale
import figures_speed as speed
import figures_spur as spur
from kept import machine, read, shows

from niwaki.wording import counted

ROOT = Path(__file__).parents[1]
NAMES = {"dense": "dense", "magnitude": "one-shot L1", "greg1": "GReg-1"}


def section() -> str:
    """The Markdown between the marks."""
    return "\n\n".join([_demo(), _harder(), _costs(), _resnet()])


@shows("families", "The families")
def families(found: dict) -> str:
    """The Markdown between the marks of the families."""
    from families import markdown  # imports torch, for which most of this page has no use

    return markdown(found)


@shows("big_models", "Models of real size")
def big_models(found: dict) -> str:
    """The Markdown between the marks of the models of real size."""
    from big_models import markdown  # imports torch, too

    return markdown(found)


@shows("fuzz", "Random networks")
def fuzz(found: dict) -> str:
    """The sentences between the marks of the random networks."""
    f = found["figures"]
    lines = [
        f"Random networks: {f['networks']:,}, of {f['kinds_of_gene']} kinds of parts, through {f['operations']}",
        f"operations. Cut equals masked in {f['holds']:,}; {f['nothing_to_prune']:,} have nothing to prune,",
        f"{f['differs']:,} differ, {f['crashes']:,} crash, {f['unfit']:,} were no fair test.",
    ]
    if f["coverage_median"] is not None:
        lines.append(
            f"Of those that hold, the middle one has {f['coverage_median']:.0%} of its parameters within reach."
        )
    return "\n".join(lines)


@shows("hugging_folders", "Families")
def hugging_folders(found: dict) -> str:
    """The Markdown between the marks of the folders."""
    from hugging_folders import markdown  # imports torch, too

    return markdown(found)


def greg() -> str:
    """The tables between the marks of docs/greg.md: what was run, and of every row what the paper printed."""
    found = read("greg")
    from niwaki.bench.greg import table
    from niwaki.bench.greg.contestants import CONTESTANTS, USUAL
    from niwaki.bench.greg.rows import ROWS

    lines = table.lines(found["raw"] if found else [], ROWS, list(CONTESTANTS))
    run = [line for line in lines if line["seeds"]]
    done = {(line["row"], line["contestant"]) for line in run}
    text = ""
    if found:
        bases = sorted({f"{100 * r['base']['accuracy']:.2f} % ({r['base']['sha256'][:12]}…)" for r in run})
        text = f"{table.markdown(run)}\nFrom the dense network of {', '.join(bases)}. Run on {machine(found)}. "
        text += f"Settings: {' or '.join(sorted({_settings(line['settings']) for line in run}))}.\n\n"
    rows = ["| row | paper: one-shot L1 | GReg-1 | GReg-2 | ours |", "|---|--:|--:|--:|---|"]
    for row in ROWS:
        printed = " | ".join(f"{row.printed[n]:.2f}" if n in row.printed else "" for n in ("l1", "greg1", "greg2"))
        missing = [name for name in USUAL if (row.name, name) not in done]
        ours = "run" if not missing else "not run" if len(missing) == len(USUAL) else f"not run: {', '.join(missing)}"
        rows.append(f"| {row.name} | {printed} | {ours} |")
    return text + "\n".join(rows)


def _settings(found: dict) -> str:
    """In which settings a run is not the paper's."""
    from niwaki.bench.greg.settings import Settings, differences

    changed = [f"{name} {ours:g}, not {paper:g}" for name, (paper, ours) in differences(Settings(**found)).items()]
    return ", ".join(changed) or "the paper's"


@shows("cifar_step", "What pressing adds to a training step")
def pressing(found: dict) -> str:
    """What pressing adds to a training step, between the marks of docs/greg.md."""
    f = found["figures"]
    added, speed = f["added_share_of_the_mean_step"], f["images_per_second"]
    rows = ["| step of ResNet-56 | images per second | added to the mean step |", "|---|--:|--:|"]
    rows += [f"| {name} | {speed[name]:,} | {'' if name == 'plain' else f'{added[name]:+.1%}'} |" for name in speed]
    steps, threads = counted(f["runs"], "step"), counted(f["threads"], "thread")
    text = f"Batches of {f['batch']}, all in turns, {steps} each, {threads}, {machine(found)}."
    return "\n".join([*rows, "", text + f" Drawing a batch takes {f['drawing_a_batch_share']:.1%} of a plain step."])


@shows("demo_seeds", "The demo over several seeds")
def _demo(found: dict) -> str:
    f = found["figures"]
    lines = [
        f"The demo with seeds {', '.join(map(str, f['seeds']))} ({machine(found)}):",
        "",
        "| network | accuracy, % | mean ± std | multiply-adds | faster, PyTorch | faster, ONNX Runtime |",
        "|---|---|---|---|---|---|",
    ]
    for name, label in NAMES.items():
        share = "1" if name == "dense" else f"{_mean(f[f'{name}_macs_share']):.3f}"
        speeds = ["1", "1"] if name == "dense" else [_speed(f, name, "pytorch"), _speed(f, name, "onnx_runtime")]
        values = ", ".join(f"{v:.2f}" for v in f[f"{name}_accuracy"])
        mean = f"{f[f'{name}_mean']:.2f} ± {f[f'{name}_std']:.2f}"
        lines.append(f"| {label} | {values} | {mean} | {share} | {speeds[0]} | {speeds[1]} |")
    lines += [
        "",
        f"Multiply-adds fall {f['macs_ratio']:.2f}×. Batch of 64, one thread, all in turns, medians. Both methods",
        "fine-tune alike; GReg-1 also presses first. On the 4,000 test images one standard error is about 0.46 points.",
    ]
    return "\n".join(lines)


@shows("harder_ratio", "Smaller still")
def _harder(found: dict) -> str:
    """Smaller still, from the same dense networks."""
    lines = ["Smaller still, from the same dense networks, same fine-tuning, mean ± std over the seeds:", ""]
    lines += [
        "| multiply-adds left | dense | one-shot L1 | GReg-1 | GReg-1 over L1, seed by seed |",
        "|---|---|---|---|---|",
    ]
    for f in found["figures"].values():
        means = " | ".join(f"{f[f'{name}_mean']:.2f} ± {f[f'{name}_std']:.2f}" for name in NAMES)
        gains = ", ".join(f"{g:+.2f}" for g in f["greg1_gain_points"])
        lines.append(f"| {_mean(f['macs_share']):.3f} | {means} | {gains} |")
    return "\n".join(lines)


def _costs() -> str:
    rows = ["| cost | measured |", "|---|---|"]
    if found := read("import_time"):
        f = found["figures"]
        rows.append(f"| `import niwaki` on top of `import torch` | {f['niwaki_on_top_s']:.3f} s |")
        rows.append(f"| the same with all that tracing, planning and training need | {f['first_use_on_top_s']:.2f} s |")
    if found := read("trace_time"):
        f = found["figures"]
        rows.append(f"| tracing a ResNet-50 (224 × 224), dry run included | {f['trace_s']:.2f} s |")
        rows.append(f"| planning it to half of its multiply-adds | {f['plan_to_half_macs_s']:.2f} s |")
    if found := read("step_overhead"):
        f = found["figures"]
        rows.append(f"| a ResNet-50 training step with the engine, against the plain step | {f['overhead']:+.1%} |")
    return "\n".join(rows)


@shows("latency_ratio", "Latency of a ResNet-50")
def _resnet(found: dict) -> str:
    f = found["figures"]
    speeds = ", ".join(
        f"{v:.2f}× ({k.removesuffix('_speedup').replace('_', ', ').replace('batch', 'batch ')})"
        for k, v in f.items()
        if k.endswith("_speedup")
    )
    return f"ResNet-50 shapes at a third of the multiply-adds ({f['macs_ratio']:.2f}× fewer), one thread: {speeds}."


def _speed(figures: dict, name: str, runtime: str) -> str:
    return f"{_mean(figures[f'{name}_speedup_{runtime}']):.2f}×"


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _put(text: str, opening: str, closing: str, body: str) -> str:
    """The text with ``body`` between two marks."""
    before, _, rest = text.partition(opening)
    _, _, after = rest.partition(closing)
    return f"{before}{opening}\n\n{body}\n\n{closing}{after}"


def main() -> int:
    stale = False
    for page, parts in PAGES.items():
        text = fresh = page.read_text(encoding="utf-8")
        for name, body in parts.items():
            fresh = _put(fresh, f"<!-- {name}: made by bench/figures.py -->", f"<!-- end of {name} -->", body())
        stale = stale or fresh != text
        if "--check" not in sys.argv:
            page.write_text(fresh, encoding="utf-8")
    return int(stale and "--check" in sys.argv)


PAGES = {
    ROOT / "README.md": {"figures": section, "families": families, "big models": big_models, "fuzz": fuzz},
    ROOT / "docs" / "export.md": {"exports": exports.table},
    ROOT / "docs" / "greg.md": {"greg": greg, "pressing": pressing},
    ROOT / "docs" / "ispasp.md": {
        "made-up matrices": ispasp.made_up,
        "MNIST": ispasp.digits,
        "MNIST, as long as in the paper": ispasp.digits_for_long,
        "MNIST, tuned at ten times the rate": ispasp.digits_tuned_faster,
        "networks": ispasp.networks,
    },
    ROOT / "docs" / "distributed.md": {"added": scale.added, "curves": scale.curves},
    ROOT / "docs" / "big-models.md": {"from disk": disk.sizes},
    ROOT / "docs" / "faults.md": {"trials": faults.trials},
    ROOT / "docs" / "spur.md": {"tasks": spur.tasks, "step": spur.step, "packed": spur.packed},
    ROOT / "docs" / "transformers.md": {"folders": hugging_folders},
    ROOT / "docs" / "packing.md": {"packing": packing.latency},
    ROOT / "docs" / "speed.md": {
        "counters": speed.counters,
        "forecast": speed.forecasts,
        "latency target": speed.targets,
        "measured speed": speed.measured,
    },
}
"""What is written between which marks of which page."""


if __name__ == "__main__":
    raise SystemExit(main())
