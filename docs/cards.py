"""Make the page of each method from its card (the docstring).   python docs/cards.py [--check]"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

from niwaki.methods import METHODS
from niwaki.targets import NM, Ratio

PAGES = Path(__file__).parent / "methods"


def page(name: str) -> str:
    """The Markdown page of a method: its card, its signature, its departures."""
    function = METHODS[name]
    card = inspect.cleandoc(function.__doc__ or "").replace("``", "`")
    lines = [f"# {name}", "", "```", f"nk.methods.{name}{signature(name)}", "```", "", *dressed(card.splitlines())]
    departs = (function(NM()) if name == "nm" else function(Ratio(0.5))).departs
    lines += ["", "## Departures from the paper", "", *(f"- {d}" for d in departs)] if departs else []
    return "\n".join(lines) + "\n"


def signature(name: str) -> str:
    """The arguments with their defaults, without types."""
    parameters = inspect.signature(METHODS[name]).parameters.values()
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in parameters]
    return str(inspect.Signature(bare))


def dressed(lines: list[str]) -> list[str]:
    """Settings as a list, section words in bold, references to other methods as plain names."""
    result: list[str] = []
    for line in lines:
        for word in ("What:", "When to use it:", "When not:", "Settings"):
            if line.startswith(word):
                line = f"**{word.rstrip(':')}**{':' if word.endswith(':') else ''}{line[len(word) :]}"
        if line.startswith("    ") and ":" in line and not line.startswith("     "):
            key, _, text = line.strip().partition(":")
            line = f"- `{key}`:{text}"
            if not result[-1].startswith(("- ", "  ")):
                result.append("")
        elif line.startswith("     "):
            line = "  " + line.strip()
        result.append(line.replace(":func:", "").replace(":class:", "").replace("`niwaki.", "`nk."))
    return result


def main() -> int:
    stale = []
    for name in METHODS:
        path, text = PAGES / f"{name}.md", page(name)
        if "--check" in sys.argv:
            stale += [] if path.is_file() and path.read_text(encoding="utf-8") == text else [name]
        else:
            PAGES.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
    if stale:
        print(f"stale pages: {', '.join(stale)}; run python docs/cards.py")
    return 1 if stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
