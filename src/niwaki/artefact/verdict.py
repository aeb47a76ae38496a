"""What a check of a folder found, line by line, and whether that is enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

State = Literal["holds", "fails", "not checked"]
Kind = Literal["hashes", "fit", "numbers", "certificate", "note"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        subject: a file, or what else it is about. kind: ``"numbers"`` are comparisons of answers. advice: what to
            install or to give, where something was not checked. worst: largest difference relative to the largest
            answer, of a comparison. tolerance: the most that holds.
    """

    subject: str
    kind: Kind
    state: State
    detail: str
    advice: str = ""
    worst: float | None = None
    tolerance: float | None = None

    def to_json(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if value not in (None, "")}

    def __str__(self) -> str:
        advice = f". {self.advice[:1].upper()}{self.advice[1:]}" if self.advice else ""
        return f"{self.state:<11}  {self.subject}: {self.detail}{advice}"


@dataclass(frozen=True)
class Verdict:
    """All findings. ``digest``: the SHA-256 of the manifest, which stands for the whole folder."""

    findings: Sequence[Finding]
    digest: str

    @property
    def failing(self) -> list[Finding]:
        return [each for each in self.findings if each.state == "fails"]

    @property
    def left_out(self) -> list[Finding]:
        return [each for each in self.findings if each.state == "not checked"]

    @property
    def is_enough(self) -> bool:
        """Were the hashes looked at, and answers compared at least once?"""
        return {"hashes", "numbers"} <= {each.kind for each in self.findings if each.state == "holds"}

    @property
    def holds(self) -> bool:
        return self.is_enough and not self.failing

    def to_json(self) -> dict[str, Any]:
        findings = [each.to_json() for each in self.findings]
        return {"format": "niwaki.verdict", "version": 1, "holds": self.holds, "manifest_sha256": self.digest,
                "findings": findings}  # fmt: skip

    def __str__(self) -> str:
        return "\n".join([*map(str, self.findings), self.sentence])

    @property
    def sentence(self) -> str:
        """The verdict in one line."""
        if self.failing:
            return f"THE FOLDER DOES NOT HOLD: {', '.join(each.subject for each in self.failing)}."
        if not self.is_enough:
            return "NOT ENOUGH COULD BE CHECKED: no answers were compared. What to give is said above."
        left = f" Not checked: {', '.join(each.subject for each in self.left_out)}." if self.left_out else ""
        return f"The folder holds (manifest {self.digest[:16]}).{left}"


__all__ = ["Finding", "Kind", "State", "Verdict"]
