"""YAML text to plain data, traps closed: ``1e-3`` is a number, a key twice is an error, tags build nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from niwaki.errors import BadInput

# YAML 1.1 wants a dot and a sign (1.0e-3); everybody writes 1e-3, and would get a string.
_NUMBER = re.compile(r"[-+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+")


class _Loader(yaml.SafeLoader):
    """The safe loader: plain data only."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(
                    problem="a key must be a word, not a list or a mapping", problem_mark=key.start_mark
                )
            if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key.value!r} stands here twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError) as trouble:  # of a scalar that cannot be what it looks like
            said = f"{node.value!r} cannot be read as {node.tag.rpartition(':')[2]} ({trouble}); put text in quotes"
            raise yaml.MarkedYAMLError(problem=said, problem_mark=node.start_mark) from None


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _NUMBER, list("-+.0123456789"))


def read_yaml(path: Path, what: str = "recipe") -> Any:
    """The plain data in a recipe file, or in what else is written like one.

    Raises:
        BadInput: no such file, or not YAML; the message gives the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BadInput(f"no {what} at {path}{_neighbours(path, what)}") from None
    except (OSError, UnicodeDecodeError) as trouble:
        raise BadInput(f"the {what} {path} cannot be read: {trouble}") from trouble
    return parse(text, str(path))


def parse(text: str, where: str) -> Any:
    """Plain data from YAML text; ``where`` names it in errors."""
    try:
        # A subclass of the safe loader: it builds plain data only, whatever the tags in the text ask for.
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as trouble:
        mark = trouble.problem_mark or trouble.context_mark
        line = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise BadInput(f"{where}{line}: not YAML: {trouble.problem or trouble.context}") from None
    except yaml.YAMLError as trouble:
        raise BadInput(f"{where}: not YAML: {trouble}") from None


def override(data: Any, changes: Sequence[str], dotted: Sequence[str] = ()) -> Any:
    """``data`` with changes such as ``method.target.macs=0.5`` made (values are YAML; list items go by number or
    label). ``dotted``: paths of mappings whose keys are paths themselves; what comes after such a one is a single key.

    Raises:
        BadInput: a change has no ``=``, or its path leads through something that has no keys.
    """
    for change in changes:
        path, equals, text = change.partition("=")
        if not equals or not path.strip():
            raise BadInput(f"--set {change!r}: write it as key.key=value, for instance --set method.target.macs=0.5")
        data = put(data, _split(path.strip(), dotted), parse(text, f"--set {change}"), f"--set {change}")
    return data


def _split(path: str, dotted: Sequence[str]) -> list[str]:
    for head in dotted:
        if path.startswith(f"{head}."):
            return [*head.split("."), path.removeprefix(f"{head}.")]
    return path.split(".")


def put(data: Any, path: Sequence[str], value: Any, where: str) -> Any:
    """A copy of ``data`` with ``value`` at ``path``; mappings on the way are made where there are none.

    Items of a list go by number, or by their ``label`` or ``name``. ``where`` names the change in errors.

    Raises:
        BadInput: the path leads through something that has no keys, or no such item.
    """
    if not path:
        return value
    if isinstance(data, list):
        head, rest = _item(data, path)
        number = _number(data, head, where)
        return [put(item, rest, value, where) if i == number else item for i, item in enumerate(data)]
    head, rest = path[0], path[1:]
    if data is not None and not isinstance(data, dict):
        raise BadInput(f"{where}: {head!r} cannot be set inside {data!r}, which has no keys")
    data = data or {}
    return {**data, head: put(data.get(head), rest, value, where)}


def at(data: Any, path: Sequence[str], where: str) -> Any:
    """What is at ``path``; None if there is nothing."""
    rest = path
    while rest:
        if isinstance(data, list):
            head, rest = _item(data, rest)
            data = data[_number(data, head, where)]
        else:
            head, rest = rest[0], rest[1:]
            data = data.get(head) if isinstance(data, dict) else None
    return data


def _item(items: list[Any], path: Sequence[str]) -> tuple[str, Sequence[str]]:
    """The item that a path begins with, and the rest of it. A label may hold dots: the longest that fits is meant."""
    called = [_called(item) for item in items]
    ends = range(len(path), 1, -1)
    length = next((end for end in ends if ".".join(path[:end]) in called), 1)
    return ".".join(path[:length]), path[length:]


def _number(items: list[Any], head: str, where: str) -> int:
    """The place in a list that ``head`` means."""
    if head.isdigit() and int(head) < len(items):
        return int(head)
    called = [_called(item) for item in items]
    if called.count(head) == 1:
        return called.index(head)
    if head in called:
        raise BadInput(f"{where}: {called.count(head)} items of the list are called {head!r}; count from 0")
    names = [name for name in called if name]
    by_name = f", or say {' or '.join(names)}" if names else ""
    raise BadInput(f"{where}: {head!r} is not an item of a list of {len(items)}; count from 0{by_name}")


def _called(item: Any) -> str | None:
    """The name that an item of a list goes by, if it has one."""
    if isinstance(item, dict):
        item = item.get("label", item.get("name"))
    return item if isinstance(item, str) else None


def _neighbours(path: Path, what: str) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"; there is no folder {folder} either"
    found = sorted(p.name for p in folder.iterdir() if p.suffix in (".yaml", ".yml"))
    return (
        f". {what.capitalize()}s in {folder}: {', '.join(found[:8])}."
        if found
        else f"; there is no .yaml file in {folder}"
    )


def quoted(text: str) -> str:
    """Text as YAML that stays text, whatever it looks like."""
    return "'" + text.replace("'", "''") + "'"
