"""The figures of docs/ispasp.md, as Markdown."""

from __future__ import annotations

from kept import machine, shows

from niwaki.wording import counted


@shows("ispasp_synthetic", "Made-up matrices")
def made_up(found: dict) -> str:
    """Figure 2 of i-SpaSP, between the marks of docs/ispasp.md."""
    from niwaki.bench.ispasp import table

    s, worst = found["raw"]["settings"], max(found["figures"]["mean_miss_log10"].values())
    rows = table.markdown(table.synthetic(found["raw"]["curves"]))
    of, after = counted(s["matrices"], "matrix", "matrices"), counted(s["iters"], "iteration")
    text = f"Mean of {of}, {after}, seed {s['seed']}; {machine(found)}."
    return f"{rows}\n\n{text} The worst of the mean misses is {worst:.3f}."


def _digits(found: dict) -> str:
    """Figure 3 of i-SpaSP, between marks of docs/ispasp.md."""
    from niwaki.bench.ispasp import table

    lines = list(found["figures"].values())
    changed = table.changed(found["raw"])
    text = f"Dense networks: {table.dense(lines)}. Run on {machine(found)}. Settings: {changed}."
    return "\n\n".join([table.markdown(table.accuracies(lines)), text, table.verdict(lines)])


digits = shows("ispasp_mnist", "MNIST")(_digits)
digits_for_long = shows("ispasp_mnist_paper", "MNIST, as long as in the paper")(_digits)
digits_tuned_faster = shows("ispasp_mnist_paper_faster", "MNIST, tuned at ten times the rate")(_digits)


def networks() -> str:
    """i-SpaSP on networks, between the marks of docs/ispasp.md."""
    parts = (_blocks, _heads, _mobilenet, _resnet50, _linear)
    return "\n\n".join(part() for part in parts)


@shows(
    "ispasp_time",
    "**Time to prune one block** of ResNet-34 (the paper's Figure 1; its ratios in brackets)",
    titled=True,
)
def _blocks(found: dict) -> str:
    """Figure 1."""
    from niwaki.bench.ispasp import table

    images = counted(min(each["samples"] for each in found["raw"]), "image")
    text = f"Seconds of one core from the call to the smaller block, {images}; {machine(found)}."
    return f"{table.markdown(table.times(found['raw']))}\n\n{text}"


@shows("ispasp_heads", "**Heads of an encoder** (as the paper's Table 2, on other data)", titled=True)
def _heads(found: dict) -> str:
    """Table 2."""
    from niwaki.bench.ispasp import table

    jobs = {(each["task"], each["encoder"]): each for each in found["raw"]}
    told = "; ".join(f"{task}, {encoder}: {_tuned(one)}" for (task, encoder), one in jobs.items())
    nli = _NLI if any(task == "nli" for task, _ in jobs) else ""
    text = f"In percent; in brackets the number of seeds. {told}. {nli}{machine(found)}."
    return f"{table.markdown(table.kept_heads(found['raw']))}\n\n{text}"


_NLI = "The task nli is trained on SICK and the dev part of XNLI, and reported on XNLI's English test part. "


def _tuned(one: dict) -> str:
    """On what the heads of a task were tuned."""
    tuning, rows = one["tuning"], "all rows" if one["rows"] is None else f"the first {one['rows']:,} rows"
    epochs = counted(tuning["epochs"], "epoch")
    return f"{one['measure']}, tuned for {epochs} on {rows} of the training part, rate {tuning['lr']:g}"


def _sample(found: dict) -> str:
    """Real ImageNet weights, a regression figure."""
    from ispasp_sample import RIVALS  # imports torch, too

    f = found["figures"]
    removed = sorted({row["removed"] for row in found["raw"]} - {0.0})
    rows = [
        f"| chosen by | {' | '.join(f'{share:.0%} removed' for share in removed)} |",
        "|---|" + "--:|" * len(removed),
    ]
    for name in sorted({row["rival"] for row in found["raw"] if row["removed"]}, key=list(RIVALS).index):
        cells = [_right(f.get(f"{name}, {share:.0%} removed")) for share in removed]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    text = "Right answers in percent on 500 pictures that were not looked at, "
    text += f"{counted(max(each['runs'] for each in f.values()), 'run')}; dense {_right(f['dense'])}. They are "
    text += "pictures that the network was trained on, so this is no accuracy on ImageNet, but says what pruning loses"
    return "\n".join([*rows, "", f"{text}; {machine(found)}."])


_TITLE = "**{} with real weights**, pruned and not trained"
_mobilenet = shows("ispasp_sample_mobilenet_v2", _TITLE.format("MobileNetV2"), titled=True)(_sample)
_resnet50 = shows("ispasp_sample_resnet50", _TITLE.format("ResNet-50 of Keras"), titled=True)(_sample)


def _right(found: dict | None) -> str:
    if found is None:
        return ""
    return f"{found['right_percent']:.1f}" + (f" ± {found['std']:.1f}" if found["std"] is not None else "")


@shows("ispasp_cost", "**Cost** against depth and the number of samples", titled=True)
def _linear(found: dict) -> str:
    """What i-SpaSP costs against depth and samples."""
    rows = [
        "| network, of | from, to | seconds of a core for each | r² of a line | peak memory, MiB |",
        "|---|--:|--:|--:|--:|",
    ]
    for name, f in found["figures"].items():
        span = f"{f['from_to'][0]:,}, {f['from_to'][1]:,}"
        peaks = f"{min(f['peak_mib']):.0f} to {max(f['peak_mib']):.0f}"
        rows.append(f"| {name.replace('_', ' ')} | {span} | {f['seconds_each']:.3g} | {f['r2']:.3f} | {peaks} |")
    text = f"`python bench/ispasp_cost.py`, {machine(found)}. Memory is what came on top of the network."
    return "\n".join([*rows, "", text])
