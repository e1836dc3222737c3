"""What is found wrong with a graph, all of it, before anything is refused."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Findings:
    """Collected while a graph is read.

    Attributes:
        approximate: whether what cannot be had exactly is approximated, and reported, instead of refused.
        problems: each one line, why the graph is refused.
        notes: each one line, what was approximated, or is good to know.
    """

    approximate: bool = False
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def problem(self, where: str, what: str) -> None:
        self.problems.append(f"{where}: {what}")

    def note(self, where: str, what: str) -> None:
        self.notes.append(f"{where}: {what}")

    def inexact(self, where: str, what: str, instead: str) -> None:
        """`what` cannot be had exactly; with `approximate` it is done as `instead` says."""
        if self.approximate:
            self.note(where, f"{what}; approximated: {instead}")
        else:
            self.problem(where, f"{what} (--approximate: {instead})")
