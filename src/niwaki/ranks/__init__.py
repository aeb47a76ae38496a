"""Several processes that prune one model together: what they sum up, what they must agree on, and who holds what."""

from niwaki.ranks.fingerprint import digest
from niwaki.ranks.ranks import Ranks
from niwaki.ranks.shards import (
    alike,
    as_part,
    carried,
    is_sharded,
    layout,
    local,
    numbers,
    part,
    places,
    shares,
    spread_over,
    whole,
)
from niwaki.ranks.wrapping import (
    check_wrapped,
    dealt_out_again,
    fully_sharded,
    plainly,
    replica,
    resharded,
    wrapped_again,
)

__all__ = [
    "Ranks",
    "alike",
    "as_part",
    "carried",
    "check_wrapped",
    "dealt_out_again",
    "digest",
    "fully_sharded",
    "is_sharded",
    "layout",
    "local",
    "numbers",
    "part",
    "places",
    "plainly",
    "replica",
    "resharded",
    "shares",
    "spread_over",
    "whole",
    "wrapped_again",
]
