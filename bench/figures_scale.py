"""What docs/distributed.md shows of bench/results: what the engine adds to a step, and losses on more processes."""

from __future__ import annotations

from kept import machine, shows

from niwaki.bench.scale import table
from niwaki.bench.tables import markdown


@shows("scale", "What the engine adds to a step")
def added(found: dict) -> str:
    """The table between the marks of the steps."""
    steps = found["raw"]["steps"]
    batches = ", ".join(sorted({f"{told['batch']} of {told['network']}" for told in steps}))
    runs = " or ".join(sorted({str(told["runs"]) for told in steps}))
    told = [
        f"{table.verdict(steps)} `niwaki bench scale steps`: steps of a plain loop, under GReg-1 (pressing, with an",
        f"update on every tenth step) and under SPUR (half of all weights masked, and its penalty), {runs} of each, in",
        f"turns. A process has one thread and {batches} in a step. What is added is the mean time from the",
        "backward pass on, beside that of a plain step, on the rank where it is longest. On",
        f"{machine(found)}; 4 processes share its cores.",
    ]
    return "\n".join([markdown(table.added(steps)), "", *told])


@shows("scale", "Losses on more processes")
def curves(found: dict) -> str:
    """The table between the marks of the curves."""
    runs = found["raw"]["curves"]
    numbers = ", ".join(str(told["processes"]) for told in runs)
    told = [
        f"`niwaki bench scale curves`: {runs[0]['steps']} steps of a small encoder on {numbers} processes, under DDP",
        f"and under FSDP2, with the same {runs[0]['batch']} sentences in a step, however many share them. The gap is",
        "the largest between any two of these runs at any step, with masks, rounds and cuts on the way.",
    ]
    return "\n".join([markdown(table.curves(runs)), "", *told])
