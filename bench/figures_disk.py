"""What docs/big-models.md shows of bench/results: memory and time of a cut from disk to disk."""

from __future__ import annotations

from kept import machine, shows


@shows("from_disk", "Cut from disk to disk")
def sizes(found: dict) -> str:
    """The table between the marks of the sizes."""
    f = found["figures"]
    rows = [
        "| parameters | files | left | peak memory | time |",
        "|--:|--:|--:|--:|--:|",
        *(
            f"| {row['params'] / 1e9:.2f} billion | {row['file_gb']:.2f} GB | {row['share_left']:.1%} | "
            f"{row['peak_gb']:.2f} GB | {row['seconds']:.0f} s |"
            for row in f["rows"].values()
        ),
    ]
    told = [
        f"`python bench/from_disk.py`, one thread, {machine(found)}: Llamas of random weights in bfloat16, in shards",
        "of at most 1 GB, to 70 % of their parameters. A billion parameters takes "
        f"{f['seconds_per_billion']:.0f} s; the worst point is {f['worst_off_the_line']:.0%} off a straight line.",
        "Memory is all that the process held at most, torch and pages of files among it; "
        f"{f['limit_gb']:.0f} GB were the limit" + (", and all are below." if f["within_limit"] else ": NOT MET."),
    ]
    return "\n".join([*rows, "", *told])
