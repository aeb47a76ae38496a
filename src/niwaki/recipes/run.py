"""Carry a recipe out: prune with every method from the same start, tune alike, certify, save, measure, report."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import nn

from niwaki.errors import BadInput
from niwaki.forecast import Forecast
from niwaki.graph import Graph
from niwaki.graph.observe import call_arguments
from niwaki.measure.size import batch_size
from niwaki.methods import Method, to_json
from niwaki.packing import certify_packed, pack
from niwaki.recipes import aims, facts
from niwaki.recipes.borrowed import importing_from
from niwaki.recipes.delivering import Deliveries
from niwaki.recipes.elsewhere import Elsewhere, can_travel
from niwaki.recipes.exporting import ONNX, extended, lacking, require_exports, write
from niwaki.recipes.foresight import profiles
from niwaki.recipes.ingredients import Ingredients, gather
from niwaki.recipes.limits import blocked, limits
from niwaki.recipes.phases import Pruned, finetune, prune_with, stopped_model
from niwaki.recipes.progress import Teller
from niwaki.recipes.record import RunRecord, rows_of
from niwaki.recipes.schema import MethodChoice, Recipe
from niwaki.recipes.scored import share_at_end
from niwaki.recipes.standing import PACKED, Clock, Standing, begin, forget
from niwaki.recipes.stopping import Stopping
from niwaki.recipes.timing import latencies, rehearse_timing, told_untimed
from niwaki.recipes.zeros import has_zeros_to_pack, leaves_zeros, packing_told, zeros_told
from niwaki.report import Entry, Foretold, Latency, Parting, Patterns, Point, Report, Trace
from niwaki.surgery.certify import Certificate, certify
from niwaki.surgery.cut import attach, plan_of
from niwaki.surgery.decide import make_plan
from niwaki.surgery.store import load, save
from niwaki.tracing import trace
from niwaki.train.rehearsal import rehearse
from niwaki.units import Plan


@dataclass(frozen=True)
class Finished:
    """The end of a run: the report, its page, the methods whose certificate does not hold, and why the networks could
    not be timed, if so."""

    report: Report
    page: Path
    failing: tuple[str, ...]
    untimed: str = ""


@dataclass(eq=False)
class Yield:
    """What has come out so far."""

    entries: list[Entry] = field(default_factory=list)
    traces: list[Trace] = field(default_factory=list)
    partings: list[Parting] = field(default_factory=list)
    patterns: list[Patterns] = field(default_factory=list)
    curve: list[Point] = field(default_factory=list)
    models: dict[str, nn.Module] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)


def run(
    recipe: Recipe, *, command: str = "niwaki.recipes.run", teller: Teller | None = None, resume: bool = False,
    begun: Callable[[], None] = lambda: None,
) -> Finished:  # fmt: skip
    """Carry out a recipe; results go to ``recipe.out``, a folder per method and ``report.html`` over all.

    What is finished is on disk: after an interruption the methods that were done stay, with a report of them, and the
    one under way has a checkpoint that is at most two minutes old. The first SIGINT (Ctrl-C) or SIGTERM while it trains
    lets it finish its step and write one; the second stops at once.

    Args:
        resume: go on where a run of this recipe was stopped, bit for bit: methods that are finished are not made again.
        begun: is called as soon as the folder holds a run that can be resumed.

    Raises:
        NiwakiError: the recipe, or what it names, cannot be used; told before the work starts wherever it can be.
    """
    teller = teller or Teller()
    if recipe.shortened:
        teller.say(f"fast: {'; '.join(map(str, recipe.shortened))}")
    with importing_from(recipe.folder):
        made = Run(gather(recipe), command, teller, resume)
        begun()
        return made.go()


class Run:
    """One recipe being carried out."""

    def __init__(self, stuff: Ingredients, command: str, teller: Teller, resume: bool = False) -> None:
        self.stuff, self.recipe, self.teller, self.command = stuff, stuff.recipe, teller, command
        self.out, self.resume, self.stopping = Path(stuff.recipe.out), resume, Stopping()
        self.so_far, self.deliveries = Yield(), Deliveries(stuff, self.out, command)
        self.forecasts: list[Forecast] = []
        self.batch = batch_size(stuff.inputs)
        self.measure = aims.timed(self.recipe.measure, stuff.methods, self.batch)
        with teller.wait(f"trace {type(stuff.dense).__name__}"):
            self.graph: Graph = trace(stuff.dense, stuff.inputs)
            for method in stuff.methods:
                rehearse(method, self.graph)
                _can_be_scheduled(self.recipe, method)
            has_zeros_to_pack(self.recipe, stuff.methods)
            require_exports(stuff)
            begin(self.out, self.recipe, stuff.dense, resume)
        self.before = finished_before(self.out) if resume else {}

    def go(self) -> Finished:
        self._dense()
        for name, choice, method in zip(self.recipe.entries, self.recipe.methods, self.stuff.methods, strict=True):
            self._one(name, choice, method)
            if self.recipe.pack and leaves_zeros(method):
                self._pack(f"{name}{PACKED}", replace(choice, label=f"{choice.label}, packed"))
        return self._end()

    def _dense(self) -> None:
        """The network that all are compared with."""
        stuff = self.stuff
        with self.teller.wait("measure the dense network"):
            accuracy = stuff.accuracy(stuff.dense)
            found = facts.dense_entry(stuff.dense, stuff.inputs, self.graph, accuracy, stuff.measure)
            self.so_far.entries.append(found)
        self.so_far.models["dense"] = stuff.dense
        self._export("dense", stuff.dense, ["onnx"] if self._times_onnx else [])
        rehearse_timing(self.measure, stuff.dense, stuff.inputs)
        wanted = aims.forecast(self.measure, stuff.methods, self.batch)
        self.forecasts = list(profiles(stuff.dense, self.graph, stuff.inputs, wanted, self.teller))

    def _one(self, name: str, choice: MethodChoice, method: Method) -> None:
        """One method, from the dense network to a certified folder."""
        before = self._finished_before(name)
        if not before:
            with closing(Standing(self.out / name, self.resume, self.stopping)) as standing:
                self._make(name, choice, method, standing)
        rows = rows_of(self.out / name / "record.jsonl")
        self.so_far.traces += facts.traces(name, rows)
        self.so_far.partings += facts.partings(name, rows, method)
        self.so_far.patterns += facts.patterns(name, rows)
        self.so_far.curve += facts.curve(name, rows)
        if not before:  # the report on disk may have more than was read again so far
            self._report().save(self.out)
        forget(self.out / name)  # after the report, so that one of the two is there
        self._deliver(name)
        self.stopping.follow()  # of a request in its last step, or later

    def _finished_before(self, name: str) -> bool:
        """Take what a run that is resumed has finished, if it has."""
        entry = self.before.get(name)
        if entry is None:
            return False
        model = load(self.out / name, self.stuff.dense).eval()
        entry = self._exported_since(
            told_untimed(replace(entry, latency=(), forecast=(), measure=self.stuff.measure), ""), model
        )
        self._add(entry, model)
        self.teller.say(f"{entry.label}: finished before")
        return True

    def _exported_since(self, entry: Entry, model: nn.Module) -> Entry:
        """The entry of a finished method, after files that were not asked for when it was made are written and
        certified: nothing that no certificate covers is delivered."""
        folder, told = self.out / entry.name, entry.certificate
        missing = [] if told is None else lacking(told, folder, self._wanted)
        if told is not None and missing:
            against = "packed" if entry.name.endswith(PACKED) else "cut"
            with self.teller.wait(f"{entry.label}: export and certify {', '.join(missing)}"):
                certificate = extended(told, against, model, self._export(entry.name, model, missing), self.stuff)
            certificate.save(folder / "certificate.json")
            entry = replace(entry, certificate=certificate.to_json())
        if "onnx" in self._wanted:
            self.so_far.files[entry.name] = folder / ONNX
        return entry

    def _make(self, name: str, choice: MethodChoice, method: Method, standing: Standing) -> None:
        if standing.state is None:
            standing.record({"event": "start", "method": choice.to_json(), "seed": self.recipe.seed})
        small, plan = self._train(name, choice, method, standing)
        with self.stopping:  # what training has come to is kept when the method is finished
            self._finish(name, choice, method, standing, small, plan)

    def _finish(
        self, name: str, choice: MethodChoice, method: Method, standing: Standing, small: nn.Module, plan: Plan
    ) -> None:
        record, clock = standing.record, standing.clock
        save(small, self.out / name)
        with clock.phase("certify"), self.teller.wait(f"{choice.label}: export and certify"):
            notes, exported = zeros_told(small), self._export(name, small, self._wanted)
            certificate = self._certify(name, plan, small, exported)
        certificate.save(self.out / name / "certificate.json")
        accuracy = self._accuracy(small, record)
        record({"event": "finished", "certified": certificate.holds, "seconds": clock.seconds})
        entry = facts.pruned_entry(
            name, choice, small, self.stuff.inputs, self.graph, plan, certificate, accuracy, clock.seconds, notes,
            limits(self.graph, method, plan, self.forecasts), self.stuff.measure,
        )  # fmt: skip
        self._add(entry, small)
        self.teller.say(f"{choice.label}: {entry.macs:,} multiply-adds, {entry.params:,} parameters")

    def _add(self, entry: Entry, model: nn.Module) -> None:
        self.so_far.entries.append(entry)
        self.so_far.models[entry.name] = model

    def _pack(self, name: str, choice: MethodChoice) -> None:
        """The network of the last method with its zeros packed: a folder and an entry of its own."""
        if self._finished_before(name):
            self._deliver(name)
            return
        stuff, clock, masked = self.stuff, Clock({}), self.so_far.models[name.removesuffix(PACKED)]
        with clock.phase("pack"), self.teller.wait(choice.label):
            small = pack(masked, stuff.inputs, threads=self.recipe.measure.threads)
            save(small, self.out / name)
        with clock.phase("certify"), self.teller.wait(f"{choice.label}: export and certify"):
            notes, exported = [packing_told(small)], self._export(name, small, self._wanted)
            reloaded = self._reloaded(name)
            certificate = certify_packed(
                masked, small, stuff.inputs, reloaded=reloaded, exported=exported, dynamic=self.recipe.dynamic
            )
        certificate.save(self.out / name / "certificate.json")
        plan, accuracy = _plan(choice.label, small), stuff.accuracy(small)
        entry = facts.pruned_entry(
            name,
            choice,
            small,
            stuff.inputs,
            self.graph,
            plan,
            certificate,
            accuracy,
            clock.seconds,
            notes,
            measured=stuff.measure,
        )
        self._add(entry, small)
        self._report().save(self.out)
        self._deliver(name)

    def _deliver(self, name: str) -> None:
        """Let the folder describe itself."""
        dense, entry = self.so_far.entries[0], next(each for each in self.so_far.entries if each.name == name)
        with self.teller.wait(f"{entry.label}: describe its folder"):
            self.deliveries.add(entry, self.so_far.models[name], dense)

    def _train(self, name: str, choice: MethodChoice, method: Method, standing: Standing) -> tuple[nn.Module, Plan]:
        stuff, tuning = self.stuff, self.recipe.finetune
        pruned = stopped_model(stuff, standing.state or {}) if standing.tunes else self._prune(method, standing)
        small = pruned.model
        plan = _plan(choice.label, small)
        if tuning is not None and tuning.epochs:
            if not standing.tunes:
                with self.stopping:
                    self._accuracy(small, standing.record)
            with standing.clock.phase("finetune"):
                finetune(stuff, pruned, standing, self.teller, choice.label, _images(standing.record))
        return small.eval(), plan

    def _prune(self, method: Method, standing: Standing) -> Pruned:
        with standing.clock.phase("prune"):
            pruned = prune_with(self.stuff, copy.deepcopy(self.stuff.dense), method, standing, self.teller)
        if leaves_zeros(method):  # a plan that removes nothing: what is zero is in the weights
            attach(pruned.model, make_plan(self.graph, {}, {"method": to_json(method)}))
        return pruned

    def _accuracy(self, model: nn.Module, record: RunRecord) -> float | None:
        """The accuracy now, noted at the place on the training curve where it was taken."""
        found = self.stuff.accuracy(model)
        if found is not None:
            phases = [row["phase"] for row in record.rows if row.get("event") == "epoch"]
            at = {"phase": phases[-1] if phases else "prune", "images": _images(record)}
            record({"event": "accuracy", **at, "accuracy": found, **share_at_end(model, record.rows)})
        return found

    def _export(self, name: str, model: nn.Module, forms: Sequence[str]) -> dict[str, Path]:
        """Write the network in these formats: the file of each."""
        found = write(self.stuff, model, self.out / name, forms)
        if "onnx" in found:
            self.so_far.files[name] = found["onnx"]
        return found

    @property
    def _times_onnx(self) -> bool:
        return "onnxruntime" in self.measure.runtimes and self.measure.runs > 0

    @property
    def _wanted(self) -> list[str]:
        """The formats of each method's network: those asked for, and what is timed."""
        return list(dict.fromkeys([*self.recipe.export, *(["onnx"] if self._times_onnx else [])]))

    def _certify(self, name: str, plan: Plan, small: nn.Module, exported: Mapping[str, Path]) -> Certificate:
        reloaded = self._reloaded(name)
        return certify(
            self.stuff.dense, plan, small, self.stuff.inputs, reloaded=reloaded, exported=exported,
            dynamic=self.recipe.dynamic,
        )  # fmt: skip

    def _reloaded(self, name: str) -> nn.Module:
        """The saved model, in a fresh process if its inputs can be handed there."""
        recipe = self.recipe
        if not can_travel(*call_arguments(self.stuff.inputs)):
            return load(self.out / name, self.stuff.dense)
        return Elsewhere(recipe.model, recipe.model_args, self.out / name, [recipe.folder, Path.cwd()])

    def _end(self) -> Finished:
        """Time all networks together, and write the report."""
        so_far = self.so_far
        timed, untimed = self._timed()
        entries = [replace(e, latency=timed[e.name], forecast=self._foretold(e.name)) for e in so_far.entries]
        goals = dict(zip(self.recipe.entries, map(aims.aim_of, self.stuff.methods), strict=True))
        aimed = [aims.with_aim(e, entries[0], goals.get(e.name), self.batch) for e in entries]
        so_far.entries = [aimed[0], *(told_untimed(e, untimed) for e in aimed[1:])]
        self.deliveries.finish(so_far.entries)
        report = self._report()
        failing = [e.label for e in report.entries if e.certificate is not None and not e.certificate["holds"]]
        return Finished(report, report.save(self.out), tuple(failing), untimed)

    def _timed(self) -> tuple[Mapping[str, Sequence[Latency]], str]:
        """The times of all networks; or none, and why."""
        so_far = self.so_far
        try:
            with self.teller.wait("time all networks in turns"):
                return latencies(self.measure, so_far.models, so_far.files, self.stuff.inputs), ""
        except Exception as trouble:  # of any library that times; what was trained is told all the same
            none: dict[str, Sequence[Latency]] = dict.fromkeys(so_far.models, ())
            return none, " ".join(f"{type(trouble).__name__}: {trouble}".split())

    def _foretold(self, name: str) -> list[Foretold]:
        return facts.foretold(self.forecasts, self.so_far.models[name], self.stuff.inputs)

    def _report(self) -> Report:
        told = self.so_far
        title = f"{type(self.stuff.dense).__name__}, pruned"
        return facts.report(
            self.recipe, title, self.command, told.entries, told.traces, told.curve, told.partings, told.patterns,
            blocked(self.graph),
        )  # fmt: skip


def _can_be_scheduled(recipe: Recipe, method: Method) -> None:
    choice = recipe.optimizer
    if choice is not None and choice.schedule != "constant" and method.takes_time and method.body.longest is None:
        raise BadInput(
            f"optimizer.schedule: nobody knows how many steps {method.name} will take, so that its rate cannot follow "
            "them. Leave the schedule out, or set the method's steps."
        )


def _plan(label: str, small: nn.Module) -> Plan:
    plan = plan_of(small)
    if plan is None:
        raise BadInput(
            f"{label} ended without cutting anything, so there is no smaller model to save. Give it a target that "
            "removes more, or a method that cuts (niwaki methods lists them)."
        )
    return plan


def _images(record: RunRecord) -> int:
    """Training images that this method has seen so far."""
    return max((row["images"] for row in record.rows if row.get("event") == "epoch"), default=0)


def finished_before(out: Path) -> dict[str, Entry]:
    """What a run has finished, by name: it is in the report, which is written after each method."""
    if not (out / "report.json").is_file():
        return {}
    return {entry.name: entry for entry in Report.load(out).entries if entry.name != "dense"}


__all__ = ["Finished", "run"]
