"""Run a study, leave its results in a folder, and give the table."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from niwaki.bench.ispasp import plots, table
from niwaki.errors import MissingExtra
from niwaki.recipes.progress import Teller
from niwaki.replacing import made, replacing
from niwaki.wording import counted

if TYPE_CHECKING:
    from rich.table import Table

    from niwaki.bench.ispasp.heads import Heads
    from niwaki.bench.ispasp.study import Study
    from niwaki.bench.ispasp.synthetic import Synthetic
    from niwaki.bench.ispasp.timing import Timing


def synthetic(order: Synthetic, out: Path, teller: Teller | None = None) -> Table:
    """Figure 2: ``synthetic.json`` with all values, ``synthetic.md`` and ``synthetic.svg``."""
    curves = order.run(teller)
    rows = table.synthetic(curves)
    _write(out / "synthetic.json", json.dumps({"settings": asdict(order), "curves": curves}, indent=1))
    _leave(out, "synthetic", rows, lambda: plots.synthetic(curves))
    return table.drawn(rows, "squared residual, ours and the paper's")


def timed(order: Timing, teller: Teller | None = None) -> Table:
    """Figure 1: ``timing.md`` and ``timing.svg``, beside a file for each cell."""
    results = order.run(teller)
    rows = table.times(results)
    _leave(order.out, "timing", rows, lambda: plots.times(results))
    images = counted(order.samples, "image")
    return table.drawn(rows, f"time to prune one block on {images}; in brackets the paper's on 1,280")


def pruned_heads(order: Heads, teller: Teller | None = None) -> Table:
    """Table 2: ``heads.md``, beside a file for each cell."""
    rows = table.kept_heads(order.run(teller))
    _write(order.out / "heads.md", table.markdown(rows))
    return table.drawn(
        rows, f"{order.task.metrics[0]} on {order.task.name} in percent; in brackets the number of seeds"
    )


def mnist(order: Study, teller: Teller | None = None) -> Table:
    """Figure 3: ``mnist.md`` and ``mnist.svg``, beside the files of the jobs."""
    lines = table.means(order.run(teller))
    rows = table.accuracies(lines)
    _leave(order.out, "mnist", rows, lambda: plots.accuracies(lines))
    return table.drawn(rows, f"accuracy on MNIST, %; dense {table.dense(lines)}; in brackets the paper's")


def _leave(out: Path, name: str, rows: table.Rows, plot: Callable[[], str]) -> None:
    """The table, and the plot if matplotlib is there to draw it."""
    _write(out / f"{name}.md", table.markdown(rows))
    try:
        _write(out / f"{name}.svg", plot())
    except MissingExtra:
        return


def _write(path: Path, text: str) -> None:
    made(path.parent)
    with replacing(path) as part:
        part.write_text(f"{text}\n", encoding="utf-8")


__all__ = ["mnist", "pruned_heads", "synthetic", "timed"]
