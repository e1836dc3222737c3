"""Findings as lines of text. No library draws them: it might be the one that is missing."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from decolle_hw.doctor.examination import Examination
from decolle_hw.doctor.finding import Finding, State

COLOURS: dict[State, str] = {"ok": "green", "limited": "yellow", "broken": "red"}
STATE_WIDTH, NAME_WIDTH = 9, 22
INDENT = " " * (STATE_WIDTH + NAME_WIDTH)


def lines_of(findings: Sequence[Finding], width: int | None) -> Iterator[tuple[State, str, str]]:
    """(state, its column, the rest of the line or lines); `width`: of the terminal, None: lines are not folded."""
    for finding in findings:
        text = f"{finding.name:<{NAME_WIDTH}}{_folded(finding.found, width)}"
        if finding.remedy is not None and finding.state != "ok":
            text += f"\n{INDENT}remedy: {finding.remedy}"  # never folded, so that it can be copied
        yield finding.state, f"{finding.state:<{STATE_WIDTH}}", text


def _folded(text: str, width: int | None) -> str:
    if width is None:
        return text
    lines = textwrap.wrap(text, max(20, width - len(INDENT)), break_long_words=False, break_on_hyphens=False)
    return f"\n{INDENT}".join(lines)


def verdict(examination: Examination) -> str:
    broken, limited = examination.of_state("broken"), examination.of_state("limited")
    took = f"({examination.seconds:.0f} s)"
    if broken:
        return f"{len(broken)} broken: {', '.join(finding.name for finding in broken)} {took}"
    if limited:
        return f"all that is needed works; limited: {', '.join(finding.name for finding in limited)} {took}"
    return f"everything works {took}"
