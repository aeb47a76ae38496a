"""Set up, show, check and test Niwaki, with nothing but Python 3.10 or newer:

    python3 run.py setup              make .venv and install everything that the tests need
    python3 run.py demo [options]     prune a small network and write a report (options of `niwaki demo`)
    python3 run.py lint               ruff and mypy
    python3 run.py test [options]     lint, then the tests (options of pytest)

The first run installs for about half a minute; later ones see that nothing changed.
"""

import sys

if sys.version_info < (3, 10):  # noqa: UP036
    sys.exit("Niwaki needs Python 3.10 or newer; this is Python " + sys.version.split()[0] + ".")

import ast
import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = str(BIN / "python")
VERSION = sys.version.split()[0]
INCLUDES = {"demo": ("demo", "test"), "test": ("test",)}  # which installed extras will do for a wanted one


def main(words: Sequence[str]) -> int:
    commands = {"setup": setup, "demo": demo, "lint": lint, "test": test}
    if not words or words[0] not in commands:
        print(__doc__.strip())
        return 0 if words and words[0] in ("-h", "--help", "help") else 2
    return commands[words[0]](*words[1:])


def setup(*words: str) -> int:
    install("test")
    return 0


def demo(*words: str) -> int:
    install("demo")
    return subprocess.call([str(BIN / "niwaki"), "demo", *words])


def lint(*words: str) -> int:
    install("test")
    checks = (("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy",))
    # All three speak, even when the first one fails.
    return max([phase(" ".join(check), [PYTHON, "-m", *check], cwd=ROOT) for check in checks])


def test(*words: str) -> int:
    if lint():
        return 1
    say(" ".join(["pytest -n 2 -q", *words]))
    # One thread for each of the two processes: more would fight over the cores.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.call([PYTHON, "-m", "pytest", "-n", "2", "-q", *words], cwd=ROOT, env=environment)


def install(extra: str) -> None:
    """Make .venv and install the package there, unless that has been done for these very files."""
    stamp = digest()
    if any(read(VENV / f"niwaki-{done}.stamp") == stamp for done in INCLUDES[extra]):
        return
    if VERSION not in read(VENV / "pyvenv.cfg"):
        make_venv()
    arguments = ["install", "-q", "-c", str(ROOT / "constraints.txt"), "-e", f"{ROOT}[{extra}]"]
    if install_with_uv(arguments) and phase("pip install", [PYTHON, "-m", "pip", *arguments]):
        sys.exit("The installation failed; the lines above say why.")
    (VENV / f"niwaki-{extra}.stamp").write_text(stamp)


def make_venv() -> None:
    if phase(f"make .venv for Python {VERSION}", [sys.executable, "-m", "venv", "--clear", str(VENV)]):
        shutil.rmtree(VENV, ignore_errors=True)
        sys.exit("This Python cannot make environments. On Debian and Ubuntu: apt install python3-venv")


def install_with_uv(arguments: Sequence[str]) -> int:
    """uv takes a third of the time that pip takes."""
    if phase("pip install uv", [PYTHON, "-m", "pip", "install", "-q", "uv"]):
        return 1
    environment = {"UV_FIND_LINKS": find_links(), **os.environ}
    command = [PYTHON, "-m", "uv", "pip", *arguments, "--python", PYTHON]
    return phase("uv pip install", command, env=environment)


def find_links() -> str:
    """The folders of packages that pip was told of, as uv wants them: uv does not read pip's settings."""
    command = [PYTHON, "-m", "pip", "config", "list"]
    listing = subprocess.run(command, capture_output=True, text=True).stdout
    pairs = (line.partition("=") for line in listing.splitlines())
    folders = [word for key, _, value in pairs if key.endswith(".find-links") for word in split(value)]
    return ",".join(dict.fromkeys(folders))


def split(value: str) -> list[str]:
    return str(ast.literal_eval(value)).split()


def digest() -> str:
    """Changes with anything that asks for a new installation; the path, because the tree may be moved."""
    files = b"".join((ROOT / name).read_bytes() for name in ("pyproject.toml", "constraints.txt"))
    return hashlib.sha256(files + f"{sys.version}{ROOT}".encode()).hexdigest()


def phase(title: str, command: Sequence[str], **options: object) -> int:
    """Run quietly and say in one line what it was and how long it took; show its output where it failed."""
    start = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    say(f"{title}: {'failed' if done.returncode else 'done'} in {time.perf_counter() - start:.1f} s")
    if done.returncode:
        print(done.stdout, end="", flush=True)
    return done.returncode


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def say(text: str) -> None:
    print(f"niwaki | {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
