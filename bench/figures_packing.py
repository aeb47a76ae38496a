"""The figures of docs/packing.md, as Markdown."""

from __future__ import annotations

from collections import Counter

from kept import machine, read


def latency() -> str:
    """Packed against dense, between the marks of docs/packing.md."""
    found = read("pack_latency")
    if found is None:
        return "Latency of packed encoders: not run."
    faster, settings = found["figures"]["faster"], found["figures"]["settings"]
    batches = sorted({int(key.rpartition(" ")[2]) for key in faster})
    parts = [_table(found, batch) for batch in batches]
    text = (
        f"{settings['layers']} layers, {settings['weights']} weights, sequences of {settings['sequence']}, one thread, "
    )
    return "\n\n".join(
        [*parts, f"{text}{machine(found)}; load of the machine {found['environment']['load_average'][0]}."]
    )


def _table(found: dict, batch: int) -> str:
    faster, packed = found["figures"]["faster"], found["raw"][f"packing batch {batch}"]
    runtimes = [key for key in faster if key.endswith(f" batch {batch}")]
    heads = [{"pytorch": "PyTorch", "onnxruntime": "ONNX Runtime"}[key.split()[0]] for key in runtimes]
    rows = [
        f"| batch {batch}: zeros | fewer multiply-adds | forms in PyTorch | neurons and other units gone | "
        + " | ".join(heads)
        + " |",
        "|---|--:|---|--:|" + "--:|" * len(heads),
    ]
    for name, told in packed.items():
        forms = ", ".join(f"{n} {form}" for form, n in Counter(told["forms"]).most_common())
        gone = f"{told['removed']:,} of {told['units']:,}" if told["units"] else "0"
        cells = [f"{faster[key][name]['median']:.2f}× ({faster[key][name]['fastest']:.2f}×)" for key in runtimes]
        ratio = told["dense_macs"] / told["macs"]
        rows.append(f"| {name} | {ratio:.1f}× | {forms} | {gone} | " + " | ".join(cells) + " |")
    return "\n".join(rows)
