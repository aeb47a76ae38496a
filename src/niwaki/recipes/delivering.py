"""The folder of each method, made to describe itself: from what the run knows and has measured anyway."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import nn

from niwaki import measure
from niwaki.artefact import Measured, Measurements, Story, describe
from niwaki.artefact.examples import make_examples, write_examples
from niwaki.artefact.origin import Origin
from niwaki.errors import BadInput
from niwaki.measure.size import batch_size
from niwaki.recipes.checks import plain
from niwaki.recipes.ingredients import Ingredients
from niwaki.recipes.schema import Recipe
from niwaki.recipes.standing import PACKED
from niwaki.report import Entry, Latency
from niwaki.report.schema import ACCURACY


@dataclass(eq=False)
class Deliveries:
    """What was delivered so far. ``command``: that reproduces it. ``stories``: by name of the entry."""

    stuff: Ingredients
    out: Path
    command: str
    stories: dict[str, Story] = field(default_factory=dict)
    before: Measured | None = None

    def add(self, entry: Entry, small: nn.Module, dense: Entry) -> None:
        """Make examples, and write all but the times: those are taken at the end, of all networks together."""
        stuff, folder = self.stuff, self.out / entry.name
        if self.before is None:
            self.before = _measured(dense, stuff.dense)
        notes = [*entry.notes, *self._examples(small, folder)]
        measurements = Measurements(_measured(entry, small), self.before, batch_size(stuff.inputs))
        origin = Origin.of(small, stuff.recipe.model, plain(stuff.recipe.model_args))
        recipe = plain(_alone(stuff.recipe, entry.name).to_json())
        story = Story(origin, measurements, entry.certificate, recipe, self.command, notes)
        self.stories[entry.name] = story
        describe(folder, story)

    def finish(self, entries: Sequence[Entry]) -> None:
        """Write all of them anew, with the times."""
        times = {entry.name: entry.latency for entry in entries}
        for name, story in self.stories.items():
            describe(self.out / name, replace(story, measurements=_timed(story, times[name], times["dense"])))

    def _examples(self, small: nn.Module, folder: Path) -> list[str]:
        """Write examples; or say why there are none."""
        try:
            made = make_examples(small, self.stuff.inputs, seed=self.stuff.recipe.seed)
        except BadInput as trouble:
            return [f"There are no examples of its answers: {trouble}."]
        write_examples(made, folder)
        return []


def _measured(entry: Entry, model: nn.Module) -> Measured:
    """The entry's figures; what is not zero, which no entry holds, is counted."""
    return Measured(
        parameters=entry.params,
        nonzero_parameters=measure.nonzero(model),
        macs=entry.macs,
        activation_bytes=entry.activation_bytes,
        peak_bytes=entry.peak_bytes,
        file_bytes=entry.file_bytes,
        accuracy=entry.accuracy,
        accuracy_is=None if entry.accuracy is None or entry.measure == ACCURACY else entry.measure,
    )


def _timed(story: Story, after: Sequence[Latency], before: Sequence[Latency]) -> Measurements:
    found = story.measurements
    assert found is not None
    assert found.before is not None
    return replace(found, after=replace(found.after, latency=after), before=replace(found.before, latency=before))


def _alone(recipe: Recipe, name: str) -> Recipe:
    """The recipe with the one method that made this folder."""
    named = dict(zip(recipe.entries, recipe.methods, strict=True))
    packed = name not in named
    return replace(recipe, methods=(named[name.removesuffix(PACKED) if packed else name],), pack=packed)


__all__ = ["Deliveries"]
