"""What it costs that the C library gives memory back to the system.   python bench/allocation.py

Forward passes of MobileNetV2 over 100 random images, in a fresh process as it is and in one that is told to keep its
memory, in turn. Linux with glibc.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time

from ledger import keep

KEEPING = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "100000000000"}
IMAGES, PASSES, ROUNDS = 100, 3, 3


def main() -> None:
    if "--one" in sys.argv:
        print(json.dumps(one()))
        return
    raw = [{"keeping": keeping, **fresh(keeping)} for _ in range(ROUNDS) for keeping in (False, True)]
    figures = {
        name: {
            key: round(statistics.median(row[key] for row in raw if row["keeping"] is keeping), 2)
            for key in ("wall_s", "user_s", "system_s")
        }
        for name, keeping in (("as it is", False), ("keeping its memory", True))
    }
    keep("allocation", figures, raw)


def fresh(keeping: bool) -> dict[str, float]:
    """In a process of its own, on one thread."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **(KEEPING if keeping else {})}
    done = subprocess.run([sys.executable, __file__, "--one"], env=environment, capture_output=True, check=True)
    return json.loads(done.stdout)


def one() -> dict[str, float]:
    """Seconds of the passes, after a short one that nobody counts."""
    import torch

    from niwaki.vision.mobilenet_v2 import mobilenet_v2

    model, images = mobilenet_v2().eval(), torch.randn(IMAGES, 3, 224, 224)
    with torch.inference_mode():
        model(images[:2])
        before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        for _ in range(PASSES):
            model(images)
        wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    return {
        "wall_s": wall,
        "user_s": after.ru_utime - before.ru_utime,
        "system_s": after.ru_stime - before.ru_stime,
    }


if __name__ == "__main__":
    main()
