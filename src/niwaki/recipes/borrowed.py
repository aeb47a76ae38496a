"""The user's own code: found by ``module:function``, called, and its failures told as theirs, with file and line."""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from niwaki.errors import BadInput, NiwakiError, nearest, unknown_key

_HERE = str(Path(__file__).resolve().parents[1])


@contextmanager
def importing_from(folder: Path) -> Iterator[None]:
    """Let modules be found in the recipe's folder, then in the current directory."""
    before = list(sys.path)
    sys.path[:0] = list(dict.fromkeys([str(folder.resolve()), str(Path.cwd())]))
    try:
        yield
    finally:
        sys.path[:] = before


def find(where: str, reference: str) -> Callable[..., Any]:
    """The function that ``module:function`` names; ``where`` is the recipe's key, for errors.

    Raises:
        BadInput: no such module or attribute (the nearest is named), or the module fails to import.
    """
    module_name, _, path = reference.partition(":")
    found: Any = _module(where, module_name)
    for name in path.split("."):
        if not hasattr(found, name):
            owner = getattr(found, "__name__", module_name)
            known = [n for n in dir(found) if not n.startswith("_")]
            hint = nearest(name, known) or f"; it has {', '.join(known[:8]) or 'nothing'}"
            raise BadInput(f"{where}: {owner} has no {name!r}{hint}")
        found = getattr(found, name)
    if not callable(found):
        raise BadInput(f"{where}: {reference} is {type(found).__name__}, not a function that can be called")
    return found


def _module(where: str, name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as missing:
        if missing.name is None or not f"{name}.".startswith(f"{missing.name}."):
            raise BadInput(f"{where}: {name} could not be imported: {_blame(missing)}") from missing
        places = ", ".join(sys.path[:2])
        raise BadInput(
            f"{where}: no module is called {missing.name!r}. Looked in {places} and the installed packages; put the "
            "file beside the recipe, or run from the folder that holds it."
        ) from None
    except Exception as trouble:
        raise BadInput(f"{where}: {name} could not be imported: {_blame(trouble)}") from trouble


def call(where: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """``function(*args, **kwargs)``; what it raises becomes one sentence that names the user's line."""
    try:
        return function(*args, **kwargs)
    except NiwakiError:
        raise
    except Exception as trouble:
        name = getattr(function, "__qualname__", type(function).__name__)
        raise BadInput(f"{where}: {name} failed: {_blame(trouble)}") from trouble


def require_fit(where: str, function: Callable[..., Any], settings: Mapping[str, Any]) -> None:
    """Tell which of the settings is no argument of the function.

    Raises:
        BadInput: one is not; the nearest is named.
    """
    try:
        known = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return
    if any(p.kind is p.VAR_KEYWORD for p in known.values()):
        return
    for key in settings:
        if key not in known:
            raise unknown_key(f"{where}: {getattr(function, '__qualname__', function)}", key, known)


def takes(function: Callable[..., Any], name: str) -> bool:
    """Has the function an argument of this name?"""
    try:
        return name in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False


def _blame(trouble: BaseException) -> str:
    """The error and the innermost line that is the user's: not ours, not a library's."""
    frames = traceback.extract_tb(trouble.__traceback__)
    theirs = [f for f in frames if not f.filename.startswith(_HERE) and not _is_library(f.filename)]
    line = f" ({theirs[-1].filename}:{theirs[-1].lineno})" if theirs else ""
    if isinstance(trouble, SyntaxError) and trouble.filename:
        line = f" ({trouble.filename}:{trouble.lineno})"
    return f"{type(trouble).__name__}: {trouble}{line}"


def _is_library(filename: str) -> bool:
    return filename.startswith("<") or "site-packages" in filename or filename.startswith(sys.base_prefix + "/lib")
