"""Small checks of plain data, each an error that names the place in the recipe, what was found and what is wanted."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from typing import Any

from niwaki.errors import BadInput, unknown_key

LARGEST = 2**63 - 1


def mapping(where: str, value: Any, known: Iterable[str], required: Iterable[str] = ()) -> dict[str, Any]:
    """``value`` if it is a mapping of known keys that has all the required ones."""
    known = list(known)
    found = table(where, value)
    for key in found:
        if key not in known:
            raise unknown_key(where, key, known)
    missing = [key for key in required if found.get(key) is None]
    if missing:
        raise BadInput(f"{where} lacks {', '.join(map(repr, missing))}. Its keys: {', '.join(known)}.")
    return found


def table(where: str, value: Any) -> dict[str, Any]:
    """``value`` if it is a mapping of words to anything."""
    if not isinstance(value, Mapping):
        raise BadInput(f"{where} must be a mapping of keys to values, not {value!r}")
    strays = [key for key in value if not isinstance(key, str)]
    if strays:
        raise BadInput(f"{where}: keys must be words, not {strays[0]!r}")
    return dict(value)


def portable(where: str, value: Any) -> dict[str, Any]:
    """A mapping that JSON gives back as it is: it goes to the fresh process in which a saved network is run."""
    found = table(where, value)
    for key, one in found.items():
        try:
            same = json.loads(json.dumps(one, allow_nan=False)) == one
        except (TypeError, ValueError):
            same = False
        if not same:
            raise BadInput(
                f"{where}.{key} must be such as JSON gives back unchanged, since the fresh process that certifies a "
                f"network takes it from there, and {one!r} is not; write keys and dates in quotes, lists for tuples"
            )
    return found


def finite(where: str, value: Any) -> None:
    """Refuse infinities and what is no number, however deep they lie: no report could hold them."""
    if isinstance(value, float) and not math.isfinite(value):
        raise BadInput(f"{where} is {value}, and reports hold finite numbers only; write a number, or leave it out")
    inner = (
        value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, (list, tuple)) else ()
    )
    for key, one in inner:
        finite(f"{where}.{key}", one)


def text(where: str, value: Any) -> str:
    """Text that is not blank, trimmed."""
    if not isinstance(value, str) or not value.strip():
        raise BadInput(f"{where} must be text, not {value!r}")
    return value.strip()


def path(where: str, value: Any) -> str:
    """Text that names a file or folder; ``~`` is the user's home, as in a shell."""
    return os.path.expanduser(text(where, value))


def whole(where: str, value: Any, least: int) -> int:
    """A whole number that is large enough, and that a machine can count to."""
    if type(value) is not int or value < least:
        raise BadInput(f"{where} must be a whole number of at least {least}, not {value!r}")
    if value > LARGEST:
        raise BadInput(f"{where} must be at most {LARGEST} (2**63 - 1), not {value}")
    return value


def flag(where: str, value: Any) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise BadInput(f"{where} must be true or false, not {value!r}")
    return value


def one_of(where: str, value: Any, known: Iterable[str]) -> str:
    """One of the known words."""
    known = list(known)
    if value not in known:
        raise unknown_key(where, str(value), known)
    return str(value)


def reference(where: str, value: Any) -> str:
    """``module:function``, not yet imported."""
    module, colon, name = value.partition(":") if isinstance(value, str) else ("", "", "")
    words = [*module.split("."), *name.split(".")]
    if not colon or not all(word.isidentifier() for word in words):
        raise BadInput(f"{where} must be module:function, for instance my_package.nets:build, not {value!r}")
    return f"{module}:{name}"


def listed(value: Any) -> list[Any]:
    """A list as it is; anything else as a list of one; nothing as an empty list."""
    return [] if value is None else list(value) if isinstance(value, (list, tuple)) else [value]


def plain(value: Any) -> Any:
    """JSON's own types: YAML also knows dates and tuples."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
