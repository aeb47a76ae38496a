"""What ``niwaki forecast`` prints: even cuts, the plans of the recipe's methods, and widths worth having."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from niwaki.forecast import Forecast
from niwaki.forecast.likes import liked
from niwaki.forecast.outlook import Outlook, even, usual
from niwaki.measure import RUNTIMES
from niwaki.recipes.foresight import Foresight

if TYPE_CHECKING:
    from rich.table import Table

_SMALL = 0.03  # dearer by less than this share: not worth telling


def tables(found: Foresight) -> Iterator[Table | str]:
    """What there is to say of one runtime, for a terminal."""
    forecast = found.forecast
    place = forecast.place.to_json()
    yield (
        f"{RUNTIMES[forecast.place.runtime]} {place['version']}, {place['threads']} thread(s), batch {found.batch}, "
        f"{place['device']}: the dense network takes {forecast.dense_ms:.2f} ms."
    )
    yield _even(forecast)
    yield from _methods(found)
    yield _widths(forecast)


def _even(forecast: Forecast) -> Table:
    multiple = usual(forecast)
    table = _table(
        "removed evenly",
        "multiply-adds left",
        "ms",
        "times as fast",
        f"in multiples of {multiple}: ms",
        "times as fast",
    )
    for plain, rounded in even(forecast):
        table.add_row(
            plain.name, f"{plain.macs:.1%}", f"{plain.ms:.2f}", _speed(plain), f"{rounded.ms:.2f}", _speed(rounded)
        )
    return table


def _methods(found: Foresight) -> Iterator[Table | str]:
    if found.plans:
        table = _table("method of the recipe", "multiply-adds left", "ms", "times as fast")
        for row in found.outlooks:
            table.add_row(row.name, f"{row.macs:.1%}", f"{row.ms:.2f}", _speed(row))
        yield table
    for row in found.outlooks:
        if row.slower:
            yield (
                f"Warning: {row.name} would make the network slower than it is. Round its widths (round_to: "
                f"{usual(found.forecast)}), or aim at latency itself: target: {{latency: 0.5}}."
            )
    for name, why in found.failed.items():
        yield f"{name}: {why}"


def _widths(forecast: Forecast) -> Table | str:
    rows = [x for x in liked(forecast).values() if x.multiple > 1]
    if not rows:
        return "Every width is worth having: none costs more than the next larger one."
    table = _table("group", "units", "worth having", "others cost as much as the next larger one", "in")
    for x in rows:
        more = f"and {x.dearer:.0%} more" if x.dearer > _SMALL else ""
        table.add_row(x.group.name, str(len(x.group)), f"multiples of {x.multiple}", more, x.layer)
    return table


def _speed(row: Outlook) -> str:
    return f"{row.speedup:.2f}{' (slower)' if row.slower else ''}"


def _table(*columns: str) -> Table:
    from rich.table import Table

    table = Table()
    for k, name in enumerate(columns):
        table.add_column(name, justify="left" if k == 0 else "right")
    return table


__all__ = ["tables"]
