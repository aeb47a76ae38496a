"""What docs/export.md shows of bench/results: which exported files compute what the model computes."""

from __future__ import annotations

from typing import Any

from kept import machine, shows

FORMATS = {"onnx": "ONNX Runtime", "torch_export": "torch.export", "openvino": "OpenVINO"}


@shows("exports", "Exported files")
def table(found: dict) -> str:
    """The table between the marks of the exports."""
    rows = found["raw"]["rows"]
    lines = [f"| network | {' | '.join(FORMATS.values())} | weights of the cut file |", "|---|---|---|---|--:|"]
    for name in dict.fromkeys(row["network"] for row in rows):
        here = [row for row in rows if row["network"] == name]
        cells = [_cell([row for row in here if row["format"] == form]) for form in FORMATS]
        lines.append(f"| {name} | {' | '.join(cells)} | {_shares(here)} |")
    f = found["figures"]
    count = {verdict: sum(f[form][verdict] for form in FORMATS) for verdict in ("holds", "differs", "refused")}
    tolerance = found["raw"]["settings"]["tolerance"]
    told = [
        f"`python bench/exports.py`, {f['networks']} of its {f['of']} networks, tiny, dense and cut, {machine(found)}.",
        f"Of {f['files']} files {count['holds']} hold, {count['differs']} differ, {count['refused']} were refused. A",
        "cell says which sizes vary and the worst relative difference over all inputs and sizes, of both files "
        f"(tolerance {tolerance:.0e}).",
        "The last column: bytes of weights in the cut file over those in the dense one, and in brackets the same of",
        "the models.",
    ]
    return "\n".join([*lines, "", *told])


def _cell(rows: list[dict[str, Any]]) -> str:
    bad = [f"{row['model']} {row['verdict']}" for row in rows if row["verdict"] != "holds"]
    if bad:
        return ", ".join(bad)
    varying = " / ".join(dict.fromkeys(row["varying"] for row in rows))
    return f"{varying}: {max(row['worst'] for row in rows):.0e}"


def _shares(rows: list[dict[str, Any]]) -> str:
    """The worst format's."""
    pairs = []
    for form in FORMATS:
        of = {row["model"]: row for row in rows if row["format"] == form and row.get("weight_bytes")}
        if len(of) == 2:
            shares = [of["cut"][key] / of["dense"][key] for key in ("weight_bytes", "model_bytes")]
            pairs.append((abs(shares[0] - shares[1]), *shares))
    return f"{max(pairs)[1]:.2f} ({max(pairs)[2]:.2f})" if pairs else "–"
