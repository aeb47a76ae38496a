"""Do something when a module of another library is imported, without importing it.

``import niwaki`` must not import ``transformers``, and still ``from_pretrained`` has to know niwaki's folders
afterwards, in whichever order the two are imported. ``transformers`` has a registry of quantizers, and no entry point
that fills it. So a finder stands at the head of ``sys.meta_path``. It knows one name only. When that module is
imported, the finder lets the others find it, and hands out a loader that runs the module as its own loader would, and
then the action. What is imported is the library's own module, with its own loader in ``__spec__``.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

logger = logging.getLogger("niwaki")

Action = Callable[[], None]


def after_import(name: str, action: Action) -> None:
    """Call ``action`` once the module ``name`` is there: now, if it is imported already, and after every import of it.

    What the action raises goes to the log ``niwaki``: the import of another library never fails because of it.
    """
    finder = _Finder(name, action)
    if finder not in sys.meta_path:
        sys.meta_path.insert(0, finder)
    if name in sys.modules:
        _run(finder)


@dataclass(frozen=True)
class _Finder(MetaPathFinder):
    """Finds one module, by asking the finders behind it."""

    name: str
    action: Action = field(compare=False)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self.name:
            return None
        for other in sys.meta_path:
            spec = other.find_spec(fullname, path, target) if other != self else None
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Then(spec.loader, self)
                return spec
        return None


@dataclass(frozen=True)
class _Then(Loader):
    """Loads as ``inner`` does, then acts."""

    inner: Loader
    finder: _Finder

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.inner.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self.inner
        if module.__spec__ is not None:
            module.__spec__.loader = self.inner
        self.inner.exec_module(module)
        _run(self.finder)


def _run(finder: _Finder) -> None:
    try:
        finder.action()
    except Exception as trouble:
        kind = type(trouble).__name__
        logger.warning("niwaki could not make itself known to %s (%s: %s)", finder.name, kind, trouble)


__all__ = ["after_import"]
