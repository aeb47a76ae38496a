"""Every error that Niwaki raises on purpose: what was asked, what was found, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class NiwakiError(Exception):
    """Base of all errors below; catching it catches nothing that is a bug."""


class BadInput(NiwakiError, ValueError):
    """An argument, a recipe or a file says something that cannot be meant."""


class UntraceableModel(NiwakiError):
    """The model could not be run once on the inputs given. ``module``: the name of the module in which it failed."""

    module = ""


class FaultyRule(NiwakiError):
    """An op rule labelled a result in a way that its shape does not allow: the rule is wrong."""


class NothingToPrune(NiwakiError):
    """No axis of the model can be removed; the message names the biggest causes."""


class IllegalPlan(NiwakiError, ValueError):
    """A choice of units that would leave a layer empty or break a balance."""


class StalePlan(NiwakiError):
    """A plan meets a model that it was not made for."""


class UnreachableTarget(NiwakiError, ValueError):
    """A target that no legal plan meets; the message says what could be reached."""


class BrokenFile(NiwakiError):
    """A saved file is truncated, damaged or hostile."""


class CannotWrite(NiwakiError, OSError):
    """The disk is full, may only be read, and the like; what was there before is as it was. ``errno``: the system's
    number of the cause."""


class NotSaved(UserWarning):
    """A state of a run could not be written; the run goes on, and the one before is still there."""


class Damaged(UserWarning):
    """A file of a run's state is damaged; an older one is used."""


class CannotFollow(NiwakiError):
    """Something that holds the old tensors cannot be carried through a cut."""


class RanksDiffer(NiwakiError):
    """Processes that prune together do not have the same; the message names the ranks and what each has."""


class RankFailed(NiwakiError):
    """Another of the processes that prune together failed; the message says which, and how."""


class MissingExtra(NiwakiError, ImportError):
    """An optional package is needed; the message says which extra brings it."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the known word closest to ``word``, or an empty string."""
    found = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.5)
    return f"; did you mean {found[0]!r}?" if found else ""


def unknown_key(what: str, key: str, known: Iterable[str]) -> BadInput:
    """The error for a key that ``what`` does not have, naming the nearest and all of the known ones."""
    known = sorted(known)
    return BadInput(f"{what} has no {key!r}{nearest(key, known) or '.'} Known: {', '.join(known) or 'none'}.")


def require_extra(package: str, extra: str) -> MissingExtra:
    """The error for an optional package that is not installed."""
    return MissingExtra(f"{package} is not installed. Install it with: pip install 'niwaki[{extra}]'")
