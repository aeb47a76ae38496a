"""All Python in the documents runs, and the pages of the methods are what their cards say."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_the_code_of_a_document_runs(path, tmp_path, monkeypatch, capsys):
    blocks = BLOCK.findall(path.read_text(encoding="utf-8"))
    for package in ("transformers", "lightning", "accelerate"):
        if any(re.search(rf"^(from|import) {package}\b", block, re.MULTILINE) for block in blocks):
            pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    space: dict[str, object] = {"__name__": "document"}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")  # depends on the machine
        for block in blocks:
            exec(compile(block, str(path), "exec"), space)
    assert blocks or "```" in path.read_text(encoding="utf-8"), f"{path.name} shows no code at all"


def test_the_readme_example_leaves_what_it_promises(tmp_path, monkeypatch):
    blocks = BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    space: dict[str, object] = {"__name__": "document"}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
        exec(compile("\n".join(blocks[:2]), "README.md", "exec"), space)
    assert space["certificate"].holds
    assert (tmp_path / "small" / "model.safetensors").is_file()
    assert (tmp_path / "small" / "plan.json").is_file()
    assert (tmp_path / "small" / "model.onnx").is_file()


def test_the_readme_example_is_ten_lines():
    block = BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8"))[1]
    lines = [line for line in block.splitlines() if line.strip() and not line.startswith(("import", "#"))]
    assert 5 <= len(lines) <= 12


def test_the_page_of_patterns_shows_what_its_code_prints_and_draws(tmp_path, monkeypatch, capsys):
    text = (ROOT / "docs" / "pattern.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    space: dict[str, object] = {"__name__": "document"}
    for block in BLOCK.findall(text):
        exec(compile(block, "pattern.md", "exec"), space)
    assert capsys.readouterr().out.strip() in text
    drawn = (tmp_path / "pattern.svg").read_text(encoding="utf-8")
    assert drawn == (ROOT / "docs" / "pattern.svg").read_text(encoding="utf-8")


def test_the_pages_of_the_methods_are_fresh():
    spec = importlib.util.spec_from_file_location("cards", ROOT / "docs" / "cards.py")
    cards = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(cards)
    for name in cards.METHODS:
        page = ROOT / "docs" / "methods" / f"{name}.md"
        assert page.read_text(encoding="utf-8") == cards.page(name), "run python docs/cards.py"


def test_links_between_documents_lead_somewhere():
    for path in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#]+)", path.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_the_figures_of_the_readme_are_those_of_the_results():
    done = subprocess.run([sys.executable, str(ROOT / "bench" / "figures.py"), "--check"], check=False)
    assert done.returncode == 0, "run python bench/figures.py"
