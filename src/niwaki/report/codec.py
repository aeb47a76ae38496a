"""Strict JSON for frozen dataclasses: what is written can be read, and what is wrong is named by its place.

The walker follows the type hints of a dataclass, so a record needs no code of its own. Numbers must be
finite: JSON has no NaN, and a report that silently turned one into `null` would hide a broken measurement.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from niwaki.errors import BadInput, nearest

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["LATER", "Record", "ReportError"]

LATER = types.MappingProxyType({"later": True})
"""Metadata of a field that came after the first files of this version: where it is missing, it has its default."""


class ReportError(BadInput):
    """A report that cannot be built, written or read; the message names the field."""


class Record:
    """Gives a frozen dataclass `to_json` and `from_json`, both driven by its type hints."""

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and finite numbers.

        Raises:
            ReportError: a field holds NaN, infinity or a value of the wrong type.
        """
        data: dict[str, Any] = _ENCODE.record(type(self), self, "")
        return data

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """The record that `to_json` described.

        Raises:
            ReportError: a key is unknown or missing, a value has the wrong type or breaks a rule.
        """
        record: Self = _DECODE.record(cls, data, "")
        return record


@dataclasses.dataclass(frozen=True)
class _Walk:
    """One direction of travel: how a record and a series are made; everything else is common."""

    record: Callable[[Any, Any, str], Any]
    series: Callable[[Any], Any]

    def convert(self, hint: Any, value: Any, where: str) -> Any:
        if dataclasses.is_dataclass(hint):
            return self.record(hint, value, where)
        origin = typing.get_origin(hint)
        if origin is types.UnionType:
            return None if value is None else self.convert(typing.get_args(hint)[0], value, where)
        if origin in (tuple, Sequence):
            return self._series(typing.get_args(hint)[0], value, where)
        if origin is dict or hint is dict:
            return self._mapping((typing.get_args(hint) or (str, Any))[1], value, where)
        return _plain(value, where) if hint is Any else _scalar(hint, value, where)

    def _series(self, hint: Any, value: Any, where: str) -> Any:
        if not isinstance(value, list | tuple):
            raise _wrong(where, "a list", value)
        return self.series(self.convert(hint, item, f"{where}[{i}]") for i, item in enumerate(value))

    def _mapping(self, hint: Any, value: Any, where: str) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise _wrong(where, "a dict", value)
        return {_key(key, where): self.convert(hint, item, f"{where}.{key}") for key, item in value.items()}


def _encode_record(hint: Any, value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, hint):
        raise _wrong(where, hint.__name__, value)
    hints = typing.get_type_hints(hint)
    names = [field.name for field in dataclasses.fields(hint)]
    return {name: _ENCODE.convert(hints[name], getattr(value, name), _join(where, name)) for name in names}


def _decode_record(hint: Any, value: Any, where: str) -> Any:
    if not isinstance(value, Mapping):
        raise _wrong(where or hint.__name__, "a dict", value)
    hints = typing.get_type_hints(hint)
    fields = dataclasses.fields(hint)
    given = [_key(key, where) for key in value]
    _refuse_keys(
        where or hint.__name__, given, [f.name for f in fields], [f.name for f in fields if "later" in f.metadata]
    )
    names = [f.name for f in fields if f.name in given]
    made = {name: _DECODE.convert(hints[name], value[name], _join(where, name)) for name in names}
    try:
        return hint(**made)
    except BadInput as error:
        raise ReportError(f"{where}: {error}" if where else str(error)) from None


def _refuse_keys(where: str, given: list[str], known: list[str], later: list[str]) -> None:
    for key in given:
        if key not in known:
            hint = nearest(key, known) or f"; known keys: {', '.join(known)}"
            raise ReportError(f"{where}: unknown key {key!r}{hint}")
    missing = [key for key in known if key not in given and key not in later]
    if missing:
        raise ReportError(f"{where}: missing key {', '.join(map(repr, missing))}")


def _scalar(hint: type, value: Any, where: str) -> Any:
    # bool is an int to Python, but a report that reads `true` as 1 MAC is wrong.
    if isinstance(value, bool) and hint is not bool:
        raise _wrong(where, _NAMES[hint], value)
    if hint is float and isinstance(value, int):
        value = float(value)
    if not isinstance(value, hint):
        raise _wrong(where, _NAMES[hint], value)
    return _plain(value, where)


def _plain(value: Any, where: str) -> Any:
    """A JSON value as it is; tuples become lists, everything that JSON cannot say is refused."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ReportError(f"{where} is {float(value)}; a report holds finite numbers only (leave it out or use None)")
    if isinstance(value, str):
        return _text(value, where)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        return {_key(key, where): _plain(item, f"{where}.{key}") for key, item in value.items()}
    raise _wrong(where, "a JSON value", value)


def _key(key: Any, where: str) -> str:
    if not isinstance(key, str):
        raise ReportError(f"{where}: keys must be strings, not {type(key).__name__} ({key!r})")
    return _text(key, where)


def _text(value: str, where: str) -> str:
    if any("\ud800" <= char <= "\udfff" for char in value):
        raise ReportError(f"{where} is not valid Unicode text: {value!r}")
    return value


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _wrong(where: str, expected: str, value: Any) -> ReportError:
    return ReportError(f"{where or 'the report'} must be {expected}, not {type(value).__name__} ({value!r:.60})")


_NAMES: dict[type, str] = {str: "a string", int: "an integer", float: "a number", bool: "true or false"}
_ENCODE = _Walk(_encode_record, list)
_DECODE = _Walk(_decode_record, tuple)
