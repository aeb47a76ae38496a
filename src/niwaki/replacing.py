"""Files are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a path beside ``path`` to write to inside; what was written takes its place at the end.

    Who is broken off while it writes leaves the old file as it was, and no half of a new one under its name. Of several
    processes that write the same, each has a path of its own, and the last one's file stays.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


__all__ = ["replacing"]
