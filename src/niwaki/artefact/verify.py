"""Check a delivered folder, anywhere: hashes, that the files fit each other, and what its models answer.

What it trusts: nothing in the folder is unpickled or run as code. Weights are safetensors, the rest JSON. A class comes
from transformers itself, a function from whoever calls this. ONNX Runtime and OpenVINO read files of the folder, those
whose hash fits. ``torch.export.load`` unpickles parts of a program and evaluates text in it, so a ``.pt2`` is left
alone unless the caller trusts it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from niwaki import export
from niwaki.artefact.building import build_from_config
from niwaki.artefact.checks import check_examples, check_fit, check_hashes
from niwaki.artefact.examples import DESCRIPTION, EXAMPLES, Example, ask, moved, on_processor, read_examples
from niwaki.artefact.manifest import MANIFEST, Manifest, digest
from niwaki.artefact.verdict import Finding, State, Verdict
from niwaki.disk import WEIGHTS
from niwaki.errors import BadInput, MissingExtra, NiwakiError
from niwaki.graph.observe import Inputs, call_arguments
from niwaki.packed import packing_of
from niwaki.surgery.certify import Certificate, certify
from niwaki.surgery.cut import plan_of
from niwaki.surgery.store import CONFIG, PACKING, PLAN, load

Build = Callable[[], nn.Module]
_EXPORTED = (".onnx", ".xml", ".pt2")
_GIVE = "give the function that builds the dense model: --model module:function"


def verify(
    folder: str | os.PathLike[str],
    *,
    model: nn.Module | Build | None = None,
    dense: nn.Module | Build | None = None,
    inputs: Inputs | None = None,
    trust_pt2: bool = False,
    threads: int = 1,
    advice: str = _GIVE,
    told: Callable[[Finding], None] = lambda finding: None,
) -> Verdict:
    """Look at all that can be looked at.

    Args:
        folder: that :func:`niwaki.deliver` wrote. model: a dense model of the class, of any weights (it is copied, not
            touched), or a function that builds one; without it, a folder of transformers is built from its config, and
            any other one not at all. dense: the dense model with its weights, or a function that builds it: the whole
            certificate is made again. inputs: further ones, on which the exported files are compared with the model;
            with ``dense`` the certificate is made on them. All is computed on the processor.
        trust_pt2: let ``torch.export.load`` read the program. threads: of the runtimes.
        advice: what a caller without a model is told to give. told: is called with each finding as it comes.

    Raises:
        BadInput: ``model`` or ``dense`` is neither a model nor a function, or the model does not take ``inputs``.
        BrokenFile: the folder has no manifest, or one that names files outside of it.
    """
    folder, build, whole = Path(folder), _builder(model, "model"), _builder(dense, "dense")
    manifest, findings = Manifest.load(folder), []
    look = _Look(folder, manifest, build or whole, whole, moved(inputs), trust_pt2, threads, advice)
    for finding in look.findings():
        findings.append(finding)
        told(finding)
    return Verdict(findings, digest(folder / MANIFEST))


def _builder(given: nn.Module | Build | None, what: str) -> Build | None:
    """A module can be called too, and is no function that builds one."""
    if isinstance(given, nn.Module):
        return lambda: given
    if given is not None and not callable(given):
        raise BadInput(f"{what} must be a model or a function that builds one, not {type(given).__name__}")
    return given


@dataclass(eq=False)
class _Look:
    """One look at a folder. ``bad``: files whose hash does not fit; they are not read. ``asked``: the user's inputs,
    with the model's answers. ``small``: the model, as soon as it is loaded."""

    folder: Path
    manifest: Manifest
    build: Build | None
    dense: Build | None
    inputs: Inputs | None
    trust_pt2: bool
    threads: int
    advice: str
    bad: frozenset[str] = frozenset()
    examples: list[Example] = field(default_factory=list)
    asked: list[Example] = field(default_factory=list)
    small: nn.Module | None = None

    def findings(self) -> Iterator[Finding]:
        hashes = list(check_hashes(self.folder, self.manifest))
        yield from hashes
        self.bad = frozenset(each.subject for each in hashes if each.kind == "hashes" and each.state == "fails")
        if self._has(PLAN, WEIGHTS):
            yield from check_fit(self.folder)
        else:
            yield self._unread(WEIGHTS, PLAN, WEIGHTS)
        yield from self._read_examples()
        yield from self._model()
        for name in self.manifest.files:
            if Path(name).suffix in _EXPORTED:
                yield from self._exported(name)
        yield from self._certified()

    def _has(self, *names: str) -> bool:
        return all(name in self.manifest.files and name not in self.bad for name in names)

    def _unread(self, subject: str, *names: str) -> Finding:
        """What cannot be looked at, for files that are not there or not as they were."""
        lacking = [name for name in names if not self._has(name)]
        listed = [name for name in lacking if name in self.bad]
        why = f"{' and '.join(listed)} is not as it was" if listed else f"the folder has no {' and no '.join(lacking)}"
        return Finding(subject, "note", "not checked", why)

    def _read_examples(self) -> Iterator[Finding]:
        if not self._has(EXAMPLES, DESCRIPTION):
            yield self._unread(EXAMPLES, EXAMPLES, DESCRIPTION)
            return
        try:
            self.examples = read_examples(self.folder)
        except NiwakiError as trouble:
            yield Finding(EXAMPLES, "fit", "fails", str(trouble))

    def _model(self) -> Iterator[Finding]:
        """Load the model and compare its answers with the stored ones."""
        if not self._has(PLAN, WEIGHTS) or any(name in self.bad for name in (CONFIG, PACKING)):
            yield self._unread("the model", *(n for n in (PLAN, WEIGHTS, CONFIG, PACKING) if n in self.manifest.files))
            return
        build = self.build or self._stock()
        if build is None:
            yield Finding("the model", "note", "not checked", "nothing here builds its class", self.advice)
            return
        try:
            # What the caller's function gives may be a model of the caller's own: it is copied, not cut.
            self.small = load(self.folder, build() if self.build is not None else build).eval().cpu()
        except MissingExtra as missing:
            yield Finding("the model", "note", "not checked", str(missing), f"or {self.advice}")
        except Exception as trouble:  # whatever the class, or the user's function, says
            yield Finding("the model", "numbers", "fails", f"it cannot be loaded: {' '.join(str(trouble).split())}")
        else:
            yield from self._answers()

    def _stock(self) -> Build | None:
        if self.manifest.model.get("library") != "transformers" or not self._has(CONFIG):
            return None
        return lambda: build_from_config(self.folder)

    def _answers(self) -> Iterator[Finding]:
        assert self.small is not None
        found = [check_examples(WEIGHTS, self.small, self.examples)] if self.examples else []
        yield from found
        if self.inputs is None:
            return
        args, kwargs = call_arguments(self.inputs)
        try:
            self.asked = [Example(args, kwargs, ask(self.small, args, kwargs), "asked")]
        except Exception as trouble:  # whatever the class says
            said = f"{type(self.small).__name__} does not take them: {' '.join(str(trouble).split())}"
            if all(each.state == "holds" for each in found):  # else the model is at fault, and was told
                raise BadInput(f"--inputs: {said}{self._sizes}") from trouble
            yield Finding("your inputs", "note", "not checked", said)

    @property
    def _sizes(self) -> str:
        """Those that the model is known to take."""
        sizes = ", ".join(str(list(size)) for size in self.examples[0].sizes) if self.examples else ""
        return f". Give such as it was delivered with: {sizes}" if sizes else ""

    def _exported(self, name: str) -> Iterator[Finding]:
        """Run an exported file on the examples, and on the user's inputs."""
        path = self.folder / name
        reason = self._unopened(name)
        if reason is not None:
            yield reason
            return
        try:
            elsewhere = sorted(export.program_devices(path) - {"cpu"}) if path.suffix == ".pt2" else []
            if elsewhere:
                why = f"it computes on {', '.join(elsewhere)}, where it was written; all is compared on the processor"
                yield Finding(name, "note", "not checked", why, "write it of model.cpu()")
                return
            session = export.opened(path, threads=self.threads)
        except MissingExtra as missing:
            yield Finding(name, "note", "not checked", str(missing))
            return
        except Exception as trouble:  # whatever a runtime says to a file
            yield Finding(name, "numbers", "fails", f"it cannot be opened: {' '.join(str(trouble).split())}")
            return
        untaken = list(self._untaken(name, session))
        yield from untaken
        yield check_examples(name, session, [*self.examples, *(() if untaken else self.asked)])

    def _unopened(self, name: str) -> Finding | None:
        """Why an exported file is not run; None if it is."""
        path = self.folder / name
        parts = [part.relative_to(self.folder).as_posix() for part in export.files_of(path)]
        if not self._has(*parts):
            return self._unread(name, *parts)
        if path.suffix == ".pt2" and not self.trust_pt2:
            why = "torch.export.load unpickles parts of a program, and evaluates text in it: it can run any code"
            return Finding(name, "note", "not checked", why, "if you trust who made it, give --trust-pt2")
        if not self.examples and not self.asked:
            return Finding(name, "note", "not checked", "there is nothing to compare it on", "give inputs and --model")
        return None

    def _untaken(self, name: str, run: Callable[..., Any]) -> Iterator[Finding]:
        """A file of fixed sizes is sound, whatever it says to the user's inputs of others."""
        known = [each.sizes for each in self.examples]
        for each in self.asked if known else ():
            if each.sizes not in known:
                try:
                    each.answered_by(run)
                except Exception as trouble:  # whatever a runtime says
                    why = f"it does not take the sizes of your inputs: {' '.join(str(trouble).split())}"
                    yield Finding(name, "note", "not checked", why, "it would have to be exported with dynamic=…")

    def _certified(self) -> Iterator[Finding]:
        """Make the certificate again."""
        subject = "the certificate, anew"
        if self.dense is None:
            yield Finding(subject, "note", "not checked", "it takes the dense model", "give its weights: --dense")
            return
        if self.small is None or (not self.examples and self.inputs is None):
            lacking = "the model could not be loaded" if self.small is None else "there is nothing to run it on"
            yield Finding(subject, "note", "not checked", lacking, "" if self.small is None else "give inputs")
            return
        if packing_of(self.small) is not None:
            why = "a packed model is certified against the masked one that it was made of"
            yield Finding(subject, "note", "not checked", why, "call nk.certify_packed with that one")
            return
        try:
            yield from _told(self._certificate(on_processor(self.dense()), self.small))
        except Exception as trouble:  # whatever the dense model says
            yield Finding(subject, "certificate", "fails", f"it cannot be made: {' '.join(str(trouble).split())}")

    def _certificate(self, dense: nn.Module, small: nn.Module) -> Certificate:
        plan, inputs = plan_of(small), self.inputs
        assert plan is not None  # nk.load attaches it
        if inputs is None:
            first = self.examples[0]
            inputs = first.kwargs or first.args
        return certify(dense, plan, small, inputs, reloaded=load(self.folder, dense))


def _told(certificate: Certificate) -> Iterator[Finding]:
    for each in certificate.checks:
        state: State = "holds" if each.holds else "fails"
        subject = f"{each.name} = {each.against}, {each.kind}"
        worst = "not comparable" if each.worst is None else f"worst {each.worst:.1e}"
        detail = "; ".join(filter(None, [f"{worst}, tolerance {each.tolerance:.0e}", each.detail]))
        yield Finding(subject, "certificate", state, detail, worst=each.worst, tolerance=each.tolerance)


__all__ = ["verify"]
