"""The page of a sweep: means and deviations worked out by hand, the choice of settings, and what is warned of."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from niwaki.report import Entry, Latency, page, sweep
from niwaki.report.seeds import Family, Seeded, Spread, chosen, mean_entry, spread, training_images
from niwaki.report.sweep import Failed, Outcome
from tests.report.sample import certificate, dense, greg, sample, timings
from tests.report.test_page import EVIL, Outline


def seeded(accuracy: float | None, seed: int = 0, run: str = "", judged: float | None = None, **more: Any) -> Seeded:
    made = greg(accuracy=accuracy, **more)
    return Seeded(run or f"greg1-seed{seed}", f"trials/{run or seed}/report.html", seed, made, (100, 300), judged)


def family(
    *accuracies: float | None, method: str = "GReg-1", target: str = "macs 0.5", own: str = "", **more: Any
) -> Family:
    runs = [seeded(a, i, f"{method}-{target}-{own}-seed{i}", **more) for i, a in enumerate(accuracies)]
    return Family(method, target, own, runs)


def outcome(*families: Family, **more: Any) -> Outcome:
    values: dict[str, Any] = {
        "title": "ResNet-18, a sweep", "created": "2026-01-02 03:04 UTC", "command": "niwaki sweep s.yaml",
        "dense": dense(), "families": families, "weights": "5eed5eed5eed", "level": "S3.2",
        "asked": sum(len(one.seeds) for one in families),
        "settings": {"seeds": [0, 1, 2]}, "environment": {"torch": "2.13.0"},
    }  # fmt: skip
    return Outcome(**(values | more))


@pytest.mark.parametrize(
    ("values", "found"),
    [
        # mean 0.9; squares 0.0001, 0, 0.0001; divided by 3 - 1: variance 0.0001.
        ([0.89, 0.90, 0.91], Spread(0.90, 0.01, 3)),
        ([1.0, 2.0], Spread(1.5, 0.5**0.5, 2)),
        ([0.5], Spread(0.5, None, 1)),
        ([0.5, None], None),
        ([], None),
    ],
)
def test_mean_and_deviation_by_hand(values: list[float | None], found: Spread | None) -> None:
    got = spread(values)
    if found is None or got is None:
        assert got is found
        return
    assert got.mean == pytest.approx(found.mean)
    assert got.std == pytest.approx(found.std)
    assert got.n == found.n


def test_the_mean_of_networks_by_hand() -> None:
    """Latency 30 and 34 ms: mean 32, deviation 2.83, once to either side."""
    one, other = (
        seeded(0.90, latency=timings(30.0, 10.0)),
        seeded(0.92, 1, macs=700_000_000, latency=timings(34.0, 10.0)),
    )
    made = mean_entry(Family("G", "macs 0.5", "", [one, other]), "f")
    assert made.accuracy == pytest.approx(0.91)
    assert (made.macs, made.params, made.peak_bytes) == (650_000_000, 4_480_000, None)
    assert [t.median_ms for t in made.latency] == [32.0, 10.0]
    assert made.latency[0].spread_ms / 2 == pytest.approx(8**0.5)
    assert made.latency[1].spread_ms == pytest.approx(0.2)  # seeds are alike: that of each network
    assert made.certificate is not None
    assert made.certificate["holds"]


@pytest.mark.parametrize(("states", "holds"), [([True, True], True), ([True, False], False), ([True, None], None)])
def test_a_mean_is_certified_if_all_are(states: list[bool | None], holds: bool | None) -> None:
    made = [seeded(0.9, certificate=None if s is None else certificate(holds=s)) for s in states]
    found = mean_entry(Family("G", "t", "", made), "f").certificate
    assert (found if found is None else found["holds"]) is holds


def test_a_runtime_that_not_all_have_has_no_mean() -> None:
    made = mean_entry(Family("G", "t", "", [seeded(0.9), seeded(0.9, latency=timings(1.0, 2.0)[:1])]), "f")
    assert [t.runtime for t in made.latency] == ["PyTorch"]


def test_images_before_the_cut_and_in_all() -> None:
    made = sample()  # presses up to 550,000 images, then tunes
    assert training_images(made, made.entries[1]) == (550_000, 1_200_000)
    assert training_images(made, made.entries[3]) == (0, 0)


def test_the_best_setting_of_each_method_at_each_target() -> None:
    low, high, far = family(0.8, 0.9, own="a"), family(0.87, 0.87, own="b"), family(0.5, own="a", target="macs 0.3")
    other = family(0.99, own="a", method="other")
    assert chosen([low, high, far, other]) == {1, 2, 3}
    assert chosen([family(0.9, own="a"), family(0.9, own="b")]) == {0}
    assert chosen([family(None, own="a"), family(None, own="b")]) == set()
    assert chosen([family(None, own="a"), other]) == {0, 1}


def test_a_setting_that_lost_seeds_does_not_compete() -> None:
    """One seed of three is left of what would be the best by far."""
    lucky, whole, worse = family(0.99, own="a"), family(0.8, 0.8, 0.8, own="b"), family(0.7, 0.7, 0.7, own="c")
    assert chosen([lucky, whole, worse]) == {1}
    assert chosen([family(None, None, own="a"), family(0.9, own="b")]) == set()
    cells = [row[2].aside for row in sweep.rows(outcome(lucky, whole, worse))]
    assert cells == ["", "fewer seeds: not in the choice", "chosen", ""]


def test_the_lead_is_of_a_chosen_setting() -> None:
    """By another judge the setting of the lower accuracy is the better one."""
    high, low = family(0.9, own="a", judged=0.1), family(0.8, own="b", judged=0.2)
    assert "the best mean is 80.0%, GReg-1, b." in sweep.render(outcome(high, low, chosen_by="m:f"))


def test_networks_of_other_beginnings_are_not_said_to_have_one() -> None:
    html = sweep.render(outcome(family(0.9), level="S1"))
    assert "1 network from dense networks that differ" in html
    assert "from one dense network" not in html


def test_trials_are_counted_and_not_their_networks() -> None:
    made = seeded(0.9)
    packed = replace(made, run=f"{made.run}, packed")
    pair = [Family("imp", "r", "", [made]), Family("imp, packed", "r", "", [packed])]
    html = sweep.render(outcome(*pair, asked=2))
    assert "1 of 2 trials have not been run" in html


def test_a_single_seed_keeps_the_spread_of_its_own_runs() -> None:
    (made,) = mean_entry(Family("G", "t", "", [seeded(0.9, latency=timings(30.0, 10.0)[:1])]), "f").latency
    assert made.spread_ms == pytest.approx(0.9)


def test_where_all_were_judged_apart_that_decides() -> None:
    flattered, honest = family(0.9, own="a", judged=0.1), family(0.8, own="b")
    assert chosen([flattered, honest]) == {0}  # one has no word: the reported accuracy decides
    assert chosen([flattered, family(0.8, own="b", judged=0.2)]) == {1}


def test_networks_of_another_mixture_are_no_rivals() -> None:
    one, other = family(0.8, own="a"), replace(family(0.9, own="b"), mixed={"retraining": "finetune.epochs 9"})
    assert chosen([one, other]) == {0, 1}
    assert other.label == "GReg-1, macs 0.5, b, finetune.epochs 9"


def test_the_table_has_means_deviations_and_what_is_mixed() -> None:
    one = replace(family(0.89, 0.90, 0.91, own="grow 1"), mixed={"retraining": "finetune.epochs 2"})
    other = replace(family(0.88, own="grow 2"), mixed={"retraining": "finetune.epochs 2"})
    made = outcome(one, other, mixing={"retraining": "two budgets"})
    assert sweep.columns(made)[:6] == ["network", "target", "its setting", "retraining (mixed)", "seeds", "accuracy"]
    first, second, third = ([(c.main, c.aside, c.more) for c in row[:6]] for row in sweep.rows(made))
    blank = ("—", "", "")
    assert first == [("Dense ResNet-18", "", ""), blank, blank, blank, blank, ("91.10%", "", "")]
    assert second == [
        ("GReg-1", "", ""), ("macs 0.5", "", ""), ("grow 1", "chosen", ""), ("finetune.epochs 2", "", ""),
        ("3", "", ""), ("90.00%", "± 1.00", "−1.10 points"),
    ]  # fmt: skip
    assert third[2] == ("grow 2", "fewer seeds: not in the choice", "")
    assert third[4:] == [("1", "", ""), ("88.00%", "one seed", "−3.10 points")]
    assert all(len(row) == len(sweep.columns(made)) for row in sweep.rows(made))


def test_the_page_holds_all() -> None:
    made = outcome(family(0.89, 0.90, 0.91), family(0.85, 0.86, 0.87, method="L1"), asked=8,
                   failed=[Failed("L1-seed3", "killed by SIGKILL", "the loss is nan")])  # fmt: skip
    html = sweep.render(made)
    outline = Outline(html)
    assert re.findall(r"<h2>(.*?)</h2>", html) == [
        "Means over seeds", "What it cost, what it gained", "Every trial", "How it was made", "Do it again"
    ]  # fmt: skip
    assert outline.tags.count("figure") == 4
    assert len(re.findall(r'class="point"', html)) == 4 * 3
    assert html.count('href="trials/') == 6
    for said in (
        "2 methods at 1 target: 6 networks from one dense network; the best mean is 90.0%, GReg-1.",
        "Level S3.2 of comparison: one dense network, the same training afterwards",
        "L1-seed3: killed by SIGKILL", "the loss is nan", "1 of 8 trials have not been run", "niwaki sweep s.yaml",
        "90.00% right (−1.10 points), mean of 3", "5eed5eed5eed",
    ):  # fmt: skip
        assert said in outline.said or said in html, said
    assert not {"script", "link", "img", "iframe", "object"} & set(outline.tags)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (outcome(family(0.9)), "There is a single seed"),
        (outcome(family(0.9, 0.8), family(0.9, method="L1")), "Not all rows are means of as many seeds"),
        (outcome(family(0.9, 0.8)), "There are rows of fewer than three seeds"),
        (outcome(family(None, own="a"), family(None, own="b")), "No setting is marked as chosen: no accuracy is known"),
        (outcome(family(0.9, own="a"), family(0.9, own="b")), "flatters it. Let choose_by name a function"),
        (outcome(family(0.9), mixing={"base": "two sizes"}), "Mixed on purpose, base: two sizes"),
        (outcome(family(0.9), remarks=["A shorter run"]), "A shorter run"),
    ],
)
def test_what_a_reader_must_know_is_told_first(made: Outcome, said: str) -> None:
    html = sweep.render(made)
    assert said in html.split('class="warning"')[1].split("</section>")[0]


def test_nothing_is_warned_of_without_a_cause() -> None:
    judged = (family(0.9, 0.8, 0.7, own=own, judged=0.5) for own in "ab")
    made = outcome(*judged, family(0.9, 0.8, 0.7, method="L1"), chosen_by="m:f")  # where nothing is chosen, none judges
    html = sweep.render(made)
    assert 'class="warning"' not in html
    assert 'class="alarm"' not in html
    assert "50.00%" in html
    assert "Settings were chosen by m:f" in html


def test_a_judge_that_has_not_seen_all_is_not_said_to_have_chosen() -> None:
    made = outcome(family(0.9, 0.8, own="a", judged=0.5), family(0.9, 0.8, own="b"), chosen_by="m:f")
    html = sweep.render(made)
    assert "Settings were chosen by m:f" not in html
    assert "has not judged GReg-1-macs 0.5-b-seed0, GReg-1-macs 0.5-b-seed1, which" in html
    assert "flatters it" in html


def test_what_is_mixed_stands_under_every_figure() -> None:
    html = sweep.render(outcome(family(0.9, 0.8), mixing={"retraining": "two budgets"}))
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", html)
    assert len(captions) == 4
    assert all("Mixed retraining: two budgets." in one for one in captions)


def test_only_chosen_settings_are_drawn() -> None:
    html = sweep.render(outcome(family(0.9, 0.8, own="grow 1"), family(0.7, 0.6, own="grow 2")))
    labels = re.findall(r'aria-label="(GReg-1[^"]*)"', html)
    assert len(labels) == 4
    assert all("grow 1" in one for one in labels)


def test_a_failed_certificate_is_loud() -> None:
    html = sweep.render(outcome(family(0.9, certificate=certificate(holds=False))))
    assert "A check fails in GReg-1-macs 0.5--seed0" in html.split('class="alarm"')[1]


def test_without_accuracy_there_are_no_figures() -> None:
    bare = Entry("dense", "Dense", None, None, 2, 2, 2)
    html = sweep.render(outcome(family(None), dense=bare))
    assert "<figure" not in html
    assert "1 network from one dense network." in html


def test_another_measure_is_called_by_its_name() -> None:
    html = sweep.render(outcome(family(0.9, 0.8, measure="F1"), dense=replace(dense(), measure="F1")))
    assert "the best mean is 85.0% F1" in html
    assert "F1 against MACs, means over seeds." in html
    assert len(re.findall("<th[^>]*>F1</th>", html)) == 2
    assert "ccuracy" not in html


def test_hostile_strings_are_text_everywhere() -> None:
    evil = replace(family(0.9, 0.8, own=EVIL, method=EVIL, target=EVIL), mixed={"base": EVIL})
    more = dict.fromkeys(("title", "created", "command", "weights", "chosen_by"), EVIL)
    made = outcome(evil, **more, mixing={"base": EVIL}, remarks=[EVIL], failed=[Failed(EVIL, EVIL, EVIL)],
                   settings={EVIL: EVIL}, environment={EVIL: EVIL})  # fmt: skip
    outline = Outline(sweep.render(made))
    assert not {"script", "b"} & set(outline.tags)
    assert "onload" not in outline.attributes


def test_a_page_of_one_report_is_as_it_was() -> None:
    assert "mean of" not in page.render(sample(traces=[], curve=[]))
    assert isinstance(timings(1.0, 1.0)[0], Latency)


def test_names_in_figures_leave_out_what_all_targets_share() -> None:
    made = outcome(family(0.9, target="macs 0.6, round_to 8"), family(0.8, target="macs 0.3, round_to 8", own="grow 1"))
    html = sweep.render(made)
    assert {one.split(",")[1] for one in re.findall(r'aria-label="GReg-1(.*?%)', html)} == {" macs 0.6", " macs 0.3"}
    assert html.count("<span>macs 0.6, round_to 8</span>") == 1
