"""Where the figures go: one JSON file a benchmark, with the machine that made them."""

from __future__ import annotations

import json
import os
import platform
import time
from pathlib import Path
from typing import Any

from niwaki.replacing import replacing

RESULTS = Path(__file__).parent / "results"


def environment() -> dict[str, Any]:
    """What a reader must know of the machine to judge a time."""
    import numpy
    import torch

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load_average": [round(v, 2) for v in os.getloadavg()],
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    }


def keep(name: str, figures: dict[str, Any], raw: Any = None) -> Path:
    """Write ``bench/results/NAME.json`` and print the figures."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    content = {"benchmark": name, "figures": figures, "environment": environment(), "raw": raw}
    with replacing(path) as part:  # a run that is stopped loses no rows
        part.write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps(figures, indent=2))
    print(f"kept in {path}")
    return path


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
