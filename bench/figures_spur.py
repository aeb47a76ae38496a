"""The figures of docs/spur.md, as Markdown."""

from __future__ import annotations

from kept import machine, shows

from niwaki.wording import counted


@shows("spur", "SPUR and its rivals on language tasks")
def tasks(found: dict) -> str:
    """Scores and patterns, task by task, between the marks of docs/spur.md."""
    from niwaki.bench.spur import table
    from niwaki.bench.spur.subjects import LOWER

    parts = []
    for (task, encoder), rows in table.by_task(found["raw"]).items():
        shares, measure, s = table.shares_of(rows), rows[0]["measure"], rows[0]["settings"]
        lines = table.lines(rows, shares)
        unit = "windows" if measure in LOWER else "rows"
        of = f"all {unit}" if s["rows"] is None else f"{s['rows']:,} {unit}"
        text = f"{encoder} on {task}: {table.unit(measure)}, in brackets the number of seeds. {of} to train on, "
        text += f"{counted(s['epochs'], 'epoch')} a round and before the first, highest rate {s['lr']:g}; factors "
        text += f"chosen on {s['held_out']:,} other {unit}."
        parts += [text, table.markdown(table.scores(lines, shares, measure))]
        parts += ["Where the surviving weights are (means over rows and columns):"]
        parts += [table.markdown(table.patterns(lines, shares[-2:]))]
        factors = table.tried(rows, shares)
        if factors:
            scores, patterns = table.scores(factors, shares[-2:], measure), table.patterns(factors, shares[-2:])
            parts += ["All factors that were tried, with the first seed:"]
            parts += [table.markdown([a + b[1:] for a, b in zip(scores, patterns, strict=True)])]
    missing = ", ".join(table.missing(found["raw"]))
    return "\n\n".join([*parts, f"Run on {machine(found)}. Not run: {missing or 'nothing'}."])


@shows("spur_step", "What the penalty adds to a training step")
def step(found: dict) -> str:
    """What penalties and masks add to a step, between the marks of docs/spur.md."""
    rows = ["| step of an encoder | processor seconds | added |", "|---|--:|--:|"]
    for name, row in found["figures"].items():
        rows.append(f"| {name} | {row['core_s']:.3f} | {'' if name == 'plain' else format(row['added'], '+.1%')} |")
    return "\n".join([*rows, "", f"All in turns on one thread, medians; {machine(found)}."])


@shows("spur_pack", "Latency of the pruned encoders, packed")
def packed(found: dict) -> str:
    """Packed models of the comparison against the dense one, between the marks of docs/spur.md."""
    batches = sorted({key for row in found["figures"].values() for key in row}, key=lambda key: int(key.split()[1]))
    rows = ["| model | " + " | ".join(f"faster, {batch}" for batch in batches) + " |", "|---|" + "--:|" * len(batches)]
    for label, row in found["figures"].items():
        cells = [f"{row[b]['median']:.2f}× ({row[b]['fastest']:.2f}×)" if b in row else "" for b in batches]
        rows.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join([*rows, "", f"PyTorch, one thread; medians, in brackets the fastest runs; {machine(found)}."])
