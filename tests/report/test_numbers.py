"""Arithmetic checked by hand.

Dense: 91.1%, 1.8 G MACs, 48 and 30 ms. GReg-1: 90.8%, 0.6 G MACs, 30 and 12.5 ms.
"""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from niwaki.report import Entry, Latency, Report, compare, phrase, table
from tests.report.sample import certificate, check, dense, greg, sample, timings

NB = "\N{NO-BREAK SPACE}"


def pair(**more: Any) -> Report:
    return sample(entries=[dense(), greg(**more)], traces=[], curve=[])


def test_comparisons() -> None:
    report = pair()
    entry = report.entries[1]
    assert compare.points(report, entry) == pytest.approx(-0.3)
    assert compare.share(report, entry, "macs") == pytest.approx(1 / 3)
    assert compare.share(report, entry, "params") == pytest.approx(0.4)
    assert compare.speedup(report, entry, ("PyTorch", 2, 16)) == pytest.approx((1.6, True))
    assert compare.speedup(report, entry, ("ONNX Runtime", 2, 16)) == pytest.approx((2.4, True))
    assert compare.speedup(report, entry, ("PyTorch", 1, 16)) is None
    assert compare.points(report, report.entries[0]) is None


def test_a_gap_inside_the_spread_is_no_speedup() -> None:
    def wide(median: float) -> tuple[Latency, ...]:
        return (Latency("R", 1, 1, median, median, 4.0, 9),)

    report = sample(entries=[dense_with(wide(12.0)), greg(latency=wide(9.0))], traces=[], curve=[])
    found = compare.speedup(report, report.entries[1], ("R", 1, 1))
    assert found is not None
    assert found.ratio == pytest.approx(4 / 3)
    assert not found.clear  # 3 ms apart, but the middle halves are 4 ms wide


def dense_with(latency: tuple[Latency, ...]) -> Entry:
    return Entry("dense", "Dense", None, 0.911, 1_800_000_000, 11_200_000, 44_700_000, latency)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            {},
            "GReg-1 keeps 90.8% (−0.3 points) at 0.33× the MACs and runs 2.4× as fast in ONNX Runtime and "
            "1.6× as fast in PyTorch; certificate holds.",
        ),
        (
            {"latency": timings(47.6, 12.5), "accuracy": 0.9111},
            "GReg-1 keeps 91.1% (±0.0 points) at 0.33× the MACs and runs 2.4× as fast in ONNX Runtime, "
            "but no faster in PyTorch (1.01×); certificate holds.",
        ),
        (
            {"latency": timings(60.0, 29.9), "certificate": None, "accuracy": 0.921},
            "GReg-1 keeps 92.1% (+1.0 points) at 0.33× the MACs, but runs no faster in ONNX Runtime (1.00×) "
            "and slower in PyTorch (0.80×); not certified.",
        ),
        (
            {"latency": (), "accuracy": None, "certificate": certificate(holds=False)},
            "GReg-1 takes 0.33× the MACs; certificate FAILS.",
        ),
    ],
)
def test_headline(more: dict[str, Any], said: str) -> None:
    assert phrase.headline(pair(**more)) == said


def test_headline_of_few_entries() -> None:
    def said(*entries: Entry) -> str:
        return phrase.headline(sample(entries=entries, traces=[], curve=[]))

    assert said() == "Nothing has been measured yet."
    alone = f"Dense ResNet-18 reaches 91.1% with 1.80{NB}G MACs; nothing has been pruned yet."
    assert said(dense()) == alone
    assert said(greg(latency=())) == f"GReg-1 reaches 90.8% at 600{NB}M MACs; certificate holds."


def test_the_headline_prefers_what_is_certified_and_names_what_fails() -> None:
    wrong = greg(name="wrong", label="Wrong", accuracy=0.999, certificate=certificate(holds=False))
    report = sample(entries=[dense(), wrong, greg(latency=())], traces=[], curve=[])
    said = phrase.headline(report)
    assert said == ("GReg-1 keeps 90.8% (−0.3 points) at 0.33× the MACs; certificate holds, but FAILS for Wrong.")


@pytest.mark.parametrize(
    ("made", "verdict"),
    [
        (None, "none"),
        ({"holds": True, "checks": []}, "none"),
        ({"holds": True, "checks": [check("cut", "masked")]}, "holds"),
        ({"holds": True, "checks": [check("cut", "masked"), check("a", "b", holds=False)]}, "fails"),
        ({"holds": False, "checks": [check("cut", "masked")]}, "fails"),
    ],
)
def test_one_bad_check_spoils_a_certificate(made: dict[str, Any] | None, verdict: str) -> None:
    assert compare.verdict(greg(certificate=made)) == verdict


def test_runtimes_are_told_apart_only_where_they_must() -> None:
    settings = [("A", 1, 1), ("B", 1, 1), ("B", 2, 8)]
    latency = tuple(Latency(*setting, 1.0, 1.0, 0.0, 5) for setting in settings)
    names = compare.runtimes(sample(entries=[dense_with(latency)], traces=[], curve=[]))
    assert list(names.values()) == ["A", "B, 1 thread, batch 1", "B, 2 threads, batch 8"]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (phrase.count(0), "0"),
        (phrase.count(999), "999"),
        (phrase.count(1000), f"1.00{NB}k"),
        (phrase.count(999_499), f"999{NB}k"),
        (phrase.count(999_500), f"1.00{NB}M"),
        (phrase.count(1_819_066_368), f"1.82{NB}G"),
        (phrase.bytes_(44_700_000), f"44.7{NB}MB"),
        (phrase.bytes_(12), f"12{NB}B"),
        (phrase.short(1500), f"1.5{NB}k"),
        (phrase.short(300_000), f"300{NB}k"),
        (phrase.short(100), "100"),
        (phrase.milliseconds(12.345), f"12.3{NB}ms"),
        (phrase.milliseconds(0.0004), f"0.0004{NB}ms"),
        (phrase.milliseconds(1234.5), f"1234{NB}ms"),
        (phrase.times(0.004), "0.004×"),
        (phrase.times(1 / 3), "0.33×"),
        (phrase.change(-0.04), "±0.0"),
        (phrase.change(0.05, 2), "+0.05"),
        (phrase.clip("a\x00b\n", 9), "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}"),
        (phrase.clip("abcdefghij", 5), "ab…ij"),
    ],
)
def test_numbers_as_text(said: str, expected: str) -> None:
    assert said == expected


def test_table_cells() -> None:
    report = pair()
    assert table.columns(report) == [
        "network", "accuracy", "MACs per sample", "parameters", "file", "PyTorch, batch 16", "ONNX Runtime, batch 16",
        "certificate",
    ]  # fmt: skip
    first, second = ([(c.main.replace(NB, " "), c.aside) for c in row] for row in table.rows(report))
    assert first == [
        ("Dense ResNet-18", ""), ("91.10%", ""), ("1.80 G", ""), ("11.2 M", ""), ("44.7 MB", ""),
        ("48.0 ms", ""), ("30.0 ms", ""), ("—", ""),
    ]  # fmt: skip
    assert second == [
        ("GReg-1", ""), ("90.80%", "−0.30 points"), ("600 M", "0.33×"), ("4.48 M", "0.40×"),
        ("17.9 MB", "0.40×"), ("30.0 ms", "1.60× as fast"), ("12.5 ms", "2.40× as fast"), ("holds", ""),
    ]  # fmt: skip


def test_rows_of_several_measures_name_theirs() -> None:
    """And nothing is said of how far one is from the other."""
    report = pair(measure="F1")
    assert table.columns(report)[1] == "accuracy / F1"
    first, second = (row[1] for row in table.rows(report))
    assert (first.main, first.aside, first.more) == ("91.10%", "", "accuracy")
    assert (second.main, second.aside, second.more) == ("90.80%", "", "F1")
    assert table.rows(pair())[1][1].more == ""


def test_tones_of_cells() -> None:
    report = pair(latency=timings(60.0, 30.0), certificate=certificate(holds=False))
    assert [cell.tone for cell in table.rows(report)[1]] == ["", "", "", "", "", "bad", "", "bad"]


def test_summary_prints_labels_as_they_are() -> None:
    console = Console(width=200, record=True, file=None, quiet=False, force_terminal=False)
    with console.capture() as captured:
        console.print(pair(label="[red]net[/red] [/nothing]").summary())
    text = captured.get()
    assert "[red]net[/red] [/nothing]" in text
    assert f"600{NB}M (0.33×)" in text
    assert f"12.5{NB}ms (2.40× as fast)" in text
    assert "holds" in text
