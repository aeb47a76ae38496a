"""The pages in a real browser: wide and on a phone, light and dark, on paper; what is drawn, what can be touched."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from niwaki.report import page, sweep, together
from niwaki.report.sweep import Failed, Outcome
from tests.report.browser import CHROMIUM, Browser
from tests.report.sample import certificate, dense_in_full, full, greg, greg_in_full, sample, timings
from tests.report.test_page import EVIL
from tests.report.test_sweep_page import family, outcome

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
LOOKS = (Path(__file__).parent / "looks.js").read_text(encoding="utf-8")
POINTS = "[...document.querySelectorAll('.point')]"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One start for all looks."""
    made = Browser(tmp_path_factory.mktemp("profile"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the pages that are looked at."""
    other = [
        dense_in_full(weights="0dd" * 16, accuracy=0.915),
        greg_in_full(label=f"GReg-2, {EVIL}", accuracy=0.9, latency=timings(33.0, 13.5)),
    ]
    second = full(entries=other, partings=[], traces=[], curve=[], patterns=[])
    broken = [dense_in_full(), greg(certificate=certificate(holds=False), notes=(EVIL,))]
    folder = tmp_path_factory.mktemp("pages")
    made = {
        "one": page.render(full()),
        "several": together.render({"first": full(), "second": second, "third": sample()}, "two dense networks"),
        "sweep": sweep.render(swept()),
        "failing": page.render(sample(entries=broken, title=EVIL, traces=[], curve=[])),
    }
    for name, html in made.items():
        (folder / f"{name}.html").write_text(html, encoding="utf-8")
    return folder


def swept() -> Outcome:
    """Two methods, one of two settings, three seeds each, a mixture, and a failure."""
    mixed = {"retraining": "finetune.epochs 2"}
    made = [family(0.89, 0.90, 0.91, own=f"grow {EVIL}"), family(0.86, 0.88, 0.87, own="grow 0.01")]
    made += [family(0.85, 0.86, 0.87, method="Magnitude (L1), one shot", target="macs 0.3, round_to 8")]
    failed = [Failed("magnitude-macs0.3-round_to8-grow0.005-seed3", "killed by SIGKILL", "step 1\n" + EVIL * 5)]
    families = [replace(one, mixed=mixed) for one in made]
    return outcome(*families, mixing={"retraining": EVIL}, failed=failed, asked=12)


def looked_at(browser: Browser, path: Path, width: int = 1200, theme: str = "light", media: str = "") -> list[str]:
    """What the browser and the look complain about."""
    browser.show(path, width, theme=theme, media=media)
    found: list[str] = browser.ask(LOOKS)
    return browser.complaints + found


@pytest.mark.parametrize(
    ("name", "width", "theme"),
    [
        ("one", 1200, "light"), ("one", 390, "light"), ("several", 1200, "dark"), ("several", 390, "dark"),
        ("sweep", 1200, "light"), ("sweep", 390, "dark"), ("failing", 390, "light"), ("failing", 800, "light"),
    ],
)  # fmt: skip
def test_pages_are_whole_and_readable(browser: Browser, pages: Path, name: str, width: int, theme: str) -> None:
    assert looked_at(browser, pages / f"{name}.html", width, theme) == []
    assert browser.ask("innerWidth") == width
    # Closed parts hold tables too.
    browser.ask("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    assert browser.ask(LOOKS) == []


def test_dark_is_dark_and_paper_is_light(browser: Browser, pages: Path) -> None:
    script = "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    browser.show(pages / "one.html", theme="dark")
    assert browser.ask(script) == ["rgb(20, 26, 23)", "rgb(228, 233, 223)"]
    browser.show(pages / "one.html", theme="dark", media="print")
    assert browser.ask(script) == ["rgba(0, 0, 0, 0)", "rgb(35, 48, 42)"]


@pytest.mark.parametrize("name", ["one", "several"])
def test_pages_can_be_printed(browser: Browser, pages: Path, name: str) -> None:
    assert looked_at(browser, pages / f"{name}.html", 690, media="print") == []
    hidden = "[...document.querySelectorAll('details > :not(summary)')].filter((one) => !one.checkVisibility()).length"
    assert browser.ask(hidden) == 0
    printed = browser.printed()
    assert printed.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type /Page\b", printed)) >= 2


def visible(browser: Browser) -> list[str]:
    """The tips that can be seen, in words, once the page has had a few frames to answer a touch."""
    seen = f"{POINTS}.filter((one) => getComputedStyle(one.querySelector('.tip')).visibility === 'visible')"
    frames = "for (let i = 0; i < 12; i++) await new Promise(requestAnimationFrame);"
    found: list[str] = browser.ask(f"(async () => {{ {frames} return {seen}.map((one) => one.textContent); }})()")
    return found


def place_of(browser: Browser, number: int) -> tuple[float, float]:
    """Where a point stands in the window, after it was scrolled there."""
    one = f"{POINTS}[{number}].querySelector('circle')"
    browser.ask(f"{one}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
    x, y = browser.ask(f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])({one}.getBoundingClientRect())")
    return x, y


def test_a_point_says_what_it_is_when_pointed_at(browser: Browser, pages: Path) -> None:
    browser.show(pages / "one.html")
    assert visible(browser) == []
    browser.point_at(*place_of(browser, 1))
    (said,) = visible(browser)
    assert (
        said.replace("\N{NO-BREAK SPACE}", " ")
        == "GReg-190.80% right (−0.30 points)30.0 ms (1.60× as fast as dense)on the front"
    )
    assert browser.ask(LOOKS) == []
    browser.point_at(1, 1)
    assert visible(browser) == []


def test_a_point_says_what_it_is_when_tapped_and_by_keyboard(browser: Browser, pages: Path) -> None:
    browser.show(pages / "several.html", 390)
    browser.tap(*place_of(browser, 4))
    (said,) = visible(browser)
    assert said.startswith("Dense ResNet-18 (second)91.50% right48.0")
    browser.ask(f"{POINTS}[0].focus()")
    assert any(text.startswith("Dense ResNet-18 (first)91.10%") for text in visible(browser))


BROKEN = {
    "a script": ("</main>", "<script>undefined.field</script></main>", "script"),
    "something from outside": ("</main>", '<img src="no-such-file.png" alt=""></main>', "no-such-file"),
    "a table that is too wide": ('<table class="cards">', '<table class="cards" style="width: 500px">', "wide"),
    "figures without marks": ("<use ", "<g ", "nothing is drawn at a point"),
    "points beside their marks": ('class="point" ', 'class="point" transform="translate(9)" ', "nothing is drawn"),
    "words that fade": ("--ink: #23302a", "--ink: #e0e0d0", "contrast"),
    "marks outside": ('viewBox="0 0 330 ', 'viewBox="0 90 330 ', "lies outside"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_the_look_finds_faults(browser: Browser, pages: Path, tmp_path: Path, fault: str) -> None:
    old, new, said = BROKEN[fault]
    html = (pages / "failing.html").read_text(encoding="utf-8")
    assert old in html
    (tmp_path / "page.html").write_text(html.replace(old, new), encoding="utf-8")
    found = looked_at(browser, tmp_path / "page.html", 390)
    assert any(re.search(said, one) for one in found), found
