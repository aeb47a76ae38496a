"""What docs/big-models.md shows of bench/results: memory and time of a cut from disk to disk."""

from __future__ import annotations

from kept import machine, shows

from niwaki.bench.scale import table
from niwaki.bench.tables import markdown


@shows("scale", "Cut from disk to disk")
def sizes(found: dict) -> str:
    """The table between the marks of the sizes."""
    rows = found["raw"]["memory"]
    told = [
        f"`niwaki bench scale memory`, one thread, {machine(found)}: Llamas of random weights in bfloat16, in shards",
        "of at most 1 GB, to 70 % of their parameters by `niwaki cut`. The time is that of the whole command. Memory:",
        table.of_memory(rows)[0].lower() + table.of_memory(rows)[1:],
    ]
    return "\n".join([markdown(table.memory(rows)), "", *told])
