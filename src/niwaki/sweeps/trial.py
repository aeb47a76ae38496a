"""The process of one trial: ``python -m niwaki.sweeps.trial FOLDER`` carries out the recipe in FOLDER/trial.json.

It ends by itself when whoever started it is gone: its standard input then ends. So a sweep that is killed leaves no
process behind that would work on beside a later one in the same folder.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from niwaki.errors import BadInput, NiwakiError
from niwaki.recipes import Recipe
from niwaki.recipes.progress import Advance, Teller
from niwaki.sweeps.ledger import TRIAL, Status, read_json, write_json, write_status

VALIDATION = "validation.json"
REFUSED, ABANDONED = 2, 3
_SECONDS = 0.5  # from one word of how it stands to the next, at least


@dataclass(frozen=True)
class Telling(Teller):
    """Speaks to the trial's log, and notes beside it, in ``folder``, what is being done, for whoever watches."""

    folder: Path = Path()

    @contextmanager
    def wait(self, title: str) -> Iterator[None]:
        write_status(self.folder, Status(title))
        with super().wait(title):
            yield

    @contextmanager
    def stage(self, title: str, total: int | None = None, done: int = 0) -> Iterator[Advance]:
        write_status(self.folder, Status(title, done, total))
        last = time.monotonic()

        def advance(note: str) -> None:
            nonlocal done, last
            done += 1
            if time.monotonic() - last >= _SECONDS:
                last = time.monotonic()
                write_status(self.folder, Status(title, done, total, note))

        self.say(f"{title} …")
        yield advance


def carry_out(folder: Path) -> None:
    """Run the trial, or go on with it, and judge its networks for the choice of settings, if that is asked for.

    Raises:
        NiwakiError: as :func:`niwaki.recipes.run.run`.
    """
    from niwaki.recipes.run import run
    from niwaki.recipes.standing import RUN

    told = read_json(folder / TRIAL)
    if told is None:
        raise BadInput(f"{folder} holds no {TRIAL}; a sweep writes it")
    recipe = Recipe.read({**told["recipe"], "out": str(folder)}, Path(told["folder"]))
    run(recipe, command=told["command"], teller=Telling(folder=folder), resume=(folder / RUN).is_file())
    if told.get("choose_by") is not None:
        write_json(folder / VALIDATION, _judged(recipe, folder, told))


def _judged(recipe: Recipe, folder: Path, told: Mapping[str, Any]) -> dict[str, float]:
    """What the function for the choice says of each network."""
    from niwaki.recipes.borrowed import find, importing_from
    from niwaki.recipes.ingredients import Ingredients, model_and_inputs
    from niwaki.report import Report
    from niwaki.report.schema import DENSE
    from niwaki.surgery.store import load

    names = [entry.name for entry in Report.load(folder).entries if entry.name != DENSE]
    with importing_from(recipe.folder):
        dense, inputs = model_and_inputs(recipe)
        judge = replace(recipe, evaluate_args=told["choose_args"])
        stuff = Ingredients(judge, dense, inputs, (), None, None, find("choose_by", told["choose_by"]))
        found = {name: stuff.accuracy(load(folder / name, dense)) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def _end_with_whoever_waits() -> None:
    """Wait for the end of standard input, which is that of the process that started this one; then end, with all that
    was started here."""
    while os.read(0, 1):
        pass
    if hasattr(os, "killpg") and os.getpgrp() == os.getpid():  # a sweep starts each trial in a session of its own
        os.killpg(0, signal.SIGKILL)
    os._exit(ABANDONED)


def main(words: list[str]) -> int:
    """Status 0: finished; 1: a bug, here or in the user's code; 2: refused, in one line."""
    threading.Thread(target=_end_with_whoever_waits, daemon=True).start()
    try:
        carry_out(Path(words[0]))
    except (NiwakiError, OSError) as trouble:
        traceback.print_exc()
        print(f"niwaki: {' '.join(str(trouble).split())}", file=sys.stderr)
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
