"""The house stands: no import runs upward, names load when asked for, and the forbidden words stay out."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import niwaki as nk

ROOT = Path(nk.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))

# From the ground up. A room may import rooms of lower floors, and itself.
FLOORS = (
    ("after_import", "errors", "wording"),
    ("replacing",),
    ("savedfiles",),
    ("disk", "modes", "pattern", "place", "ranks", "recovery", "schedules", "sealing", "terminal", "units", "wrappers"),
    ("graph", "savepoints", "scores", "penalties", "targets"),
    ("packed",),
    ("export",),
    ("surgery",),
    ("calibration", "methods"),
    ("measure",),
    ("tracing",),
    ("forecast", "packing", "train"),
    ("folders", "pruning"),
    ("report", "testing"),
    ("artefact",),
    ("recipes",),
    ("sweeps",),
    ("text", "vision"),
    ("demo",),
    ("bench",),
    ("cli",),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
# Lower down, and still out of bounds.
NEVER = {
    "methods": {"graph", "surgery", "calibration", "train", "tracing", "pruning"},
    "graph": {"methods"},
    "scores": {"graph"},
    "report": {"torch"},
    # Networks and data such as anyone has: what prunes them must not be tailored to them, nor they to it.
    "text": {room for rooms in FLOORS for room in rooms} - {"errors", "modes", "place", "savepoints", "text"},
    "vision": {room for rooms in FLOORS for room in rooms} - {"errors", "modes", "place", "units", "vision"},
}


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything that a module imports, inside functions too."""
    package = ("niwaki", *path.relative_to(ROOT).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            # `from niwaki import scores` names a room only together with what it takes.
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def rooms_imported(path: Path) -> Iterator[tuple[int, str]]:
    for line, name in imported(path):
        first, *rest = name.split(".")
        if first == "niwaki" and rest and rest[0] != "__version__":
            yield line, rest[0]


def each(paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", paths, ids=[str(p.relative_to(ROOT)) for p in paths])


def test_the_table_knows_every_room_and_no_other_twice() -> None:
    rooms = {room_of(p) for p in MODULES} - {"__init__", "__main__"}
    assert rooms <= set(FLOOR), f"give these rooms a floor: {rooms - set(FLOOR)}"
    assert sum(map(len, FLOORS)) == len(FLOOR)
    assert len(MODULES) > 50


def test_no_import_runs_upward() -> None:
    wrong = []
    for path in MODULES:
        room = room_of(path)
        if room in ("__init__", "__main__"):
            continue
        for line, other in rooms_imported(path):
            if other != room and FLOOR[other] >= FLOOR[room]:
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {other}")
    assert wrong == []


def test_some_rooms_are_out_of_bounds_though_they_lie_below() -> None:
    wrong = []
    for path in MODULES:
        forbidden = NEVER.get(room_of(path), set())
        names = [(line, name.split(".")[0]) for line, name in imported(path)]
        for line, other in [*rooms_imported(path), *names]:
            if other in forbidden:
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {other}")
    assert wrong == []


def test_the_check_of_imports_sees_lazy_and_relative_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    (tmp_path / "units").mkdir()
    module = tmp_path / "units" / "axis.py"
    module.write_text("def f():\n    from ..train import engine\n    import niwaki.cli\n    from niwaki import prune\n")
    assert [room for _, room in sorted(rooms_imported(module))] == ["train", "cli", "prune"]


def test_nothing_but_the_door_knows_the_command_line() -> None:
    for path in MODULES:
        if room_of(path) not in ("cli", "__main__"):
            assert "cli" not in {room for _, room in rooms_imported(path)}, path


def test_no_room_is_named_for_nothing() -> None:
    for path in MODULES:
        assert not {path.stem, *path.relative_to(ROOT).parts[:-1]} & {"utils", "util", "helpers", "misc", "common"}


def test_import_costs_no_torch() -> None:
    code = "import sys, niwaki; dir(niwaki); sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", nk.__all__)
def test_every_public_name_loads(name: str) -> None:
    assert getattr(nk, name) is not None
    assert name in dir(nk)


@pytest.mark.parametrize("first", ["Pruning", "prune"])
def test_public_functions_stay_functions_whatever_is_loaded_first(first: str) -> None:
    code = f"import niwaki as nk; nk.{first}; nk.testing; assert callable(nk.trace) and callable(nk.prune)"
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0


def test_an_unknown_name_names_the_nearest() -> None:
    with pytest.raises(AttributeError, match="niwaki has no 'certfy'; did you mean 'certify'"):
        _ = nk.certfy


@each(MODULES)
def test_modules_and_public_things_say_what_they_are(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "the module has no docstring"
    silent = [
        f"{node.name} (line {node.lineno})"
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
        and not _in_a_table(node)
    ]
    assert silent == []


def _in_a_table(node: ast.FunctionDef | ast.ClassDef) -> bool:
    """A registered op rule is reached by its operator's name, and says with its body what it does."""
    return any(isinstance(d, ast.Call) and ast.unparse(d.func) == "rule" for d in node.decorator_list)


@pytest.mark.parametrize("word", ["eval(", "pickle", "weights_only=False", "ignore_mismatched_sizes"])
def test_forbidden_words_stay_out_of_the_code(word: str) -> None:
    found = []
    for path in MODULES:
        code = _without_text(path)
        # model.eval() puts a module into eval mode; the builtin runs text.
        hits = code.replace(".eval(", "") if word == "eval(" else code
        if word in hits:
            found.append(str(path.relative_to(ROOT)))
    assert found == []


def _without_text(path: Path) -> str:
    """The code as Python reads it, without comments and strings: those may name what is not done."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value = ""
    return ast.unparse(tree)
