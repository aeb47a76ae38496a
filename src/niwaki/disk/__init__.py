"""Weights that stay on disk: read one tensor at a time, written shard by shard."""

from niwaki.disk.checkpoint import INDEX, WEIGHTS, Checkpoint, Entry
from niwaki.disk.marks import PLAN
from niwaki.disk.shards import Layout, bytes_of, finish, layout, outdated, write, write_file

__all__ = [
    "INDEX", "PLAN", "WEIGHTS", "Checkpoint", "Entry", "Layout", "bytes_of", "finish", "layout", "outdated", "write",
    "write_file",
]  # fmt: skip
