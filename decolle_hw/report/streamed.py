"""What `run --sim --stream` prints: a line per decision, and a table at the end."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from decolle_hw.compiler.program import Program
from decolle_hw.report.tables import new_table, print_comparison
from decolle_hw.streaming.session import Decision, Streamed

NAMED_JUMPS = 3  # in a message


def decision_line(program: Program, decision: Decision) -> str:
    """For people and for `grep`."""
    what = "step" if decision.recording is None else "recording"
    number = decision.step if decision.recording is None else decision.recording
    name = program.classes[decision.winner]
    return f"{decision.time_us / 1e6:12.6f} s  {what} {number:8d}  class {name}  margin {decision.margin}"


def decision_json(program: Program, decision: Decision) -> dict[str, Any]:
    """One of the JSON lines."""
    found = {
        "time_us": decision.time_us,
        "step": decision.step,
        "class": program.classes[decision.winner],
        "label": decision.winner,
        "margin": decision.margin,
        "readouts": list(decision.readouts),
    }
    return found if decision.recording is None else {"recording": decision.recording, **found}


def summary_json(streamed: Streamed) -> dict[str, Any]:
    """The last of the JSON lines."""
    counts, comparison = streamed.counts, streamed.comparison
    return {
        "summary": {
            "network": streamed.program.name,
            "backend": streamed.settings.backend,
            "steps": streamed.steps,
            "deltat_us": streamed.deltat,
            "begin_us": counts.begin_us,
            "events": counts.events,
            "events_not_seen": counts.unseen,
            "events_noise": counts.noise,
            "events_late": counts.late,
            "largest_delay_us": counts.largest_delay_us,
            "clock_jumps": counts.jumps,
            "gaps_shortened_us": counts.shortened,
            "clock_restarts_us": counts.restarts,
            "decisions": streamed.decisions,
            "recordings": streamed.recordings,
            "silent_recordings": streamed.silent_recordings,
            "window_steps": streamed.window,
            "latency_steps": streamed.latency,
            "tolerance_us": streamed.tolerance,
            "seconds": streamed.seconds,
            "seconds_per_step": streamed.seconds_per_step,
            "real_time_factor": streamed.real_time_factor,
            "steps_waiting": counts.waiting,
            "entries_held": counts.held,
            "seconds_behind": streamed.behind_seconds if streamed.settings.realtime else None,
            "compared_values": comparison.compared if comparison else None,
            "mismatches": comparison.mismatches if comparison else None,
            "last": None if streamed.last is None else decision_json(streamed.program, streamed.last),
        }
    }


def print_streamed(streamed: Streamed, console: Console) -> None:
    """The table."""
    console.print(f"{streamed.program.name} in {streamed.settings.backend}", style="bold")
    table = new_table("figure", "value")
    for name, value in _rows(streamed):
        table.add_row(name, value)
    console.print(table)
    for note in notes(streamed):
        console.print(note, soft_wrap=True)
    if streamed.comparison is not None:
        print_comparison(streamed.comparison, console)


def _rows(streamed: Streamed) -> list[tuple[str, str]]:
    counts, deltat, settings = streamed.counts, streamed.deltat, streamed.settings
    rows = [
        ("steps", f"{streamed.steps:,} of {deltat:,} us, {streamed.steps * deltat * 1e-6:.3f} s"),
        ("events", f"{counts.events:,}"),
    ]
    if settings.reset_every:
        silent = f", {streamed.silent_recordings:,} more were silent" if streamed.silent_recordings else ""
        rows.append(("recordings", f"{streamed.recordings:,} of {settings.reset_every} steps{silent}"))
    else:
        rows.append(("decision over the last", f"{streamed.window:,} steps"))
        rows.append(("decisions told", f"{streamed.decisions:,}"))
    if streamed.last is not None:
        rows.append(("last decision", streamed.program.classes[streamed.last.winner]))
    if streamed.latency is not None:
        late = streamed.latency * deltat * 1e-3
        rows.append(("latency on chip, event to last layer", f"{streamed.latency} steps, {late:g} ms"))
    rows.append(("a step waits for late events", f"{streamed.tolerance * 1e-3:g} ms"))
    rows.append(("computing", f"{streamed.seconds_per_step * 1e3:.3f} ms per step"))
    rows.append(("real-time factor", f"{streamed.real_time_factor:.2f}"))
    if streamed.source is not None and streamed.source.is_live:
        rows.append(("steps waiting, at most", f"{counts.waiting:,}"))
    if settings.realtime:
        rows.append(("behind its own pace, at most", f"{streamed.behind_seconds * 1e3:.1f} ms"))
    return rows


def notes(streamed: Streamed) -> list[str]:
    """What happened to events that were not used, and to the clock."""
    counts, found = streamed.counts, []
    size, expected = None if streamed.source is None else streamed.source.sensor_size, streamed.sensor
    if size is not None and size != expected:
        found.append(
            f"the stream says that its sensor has {size[0]}x{size[1]} (height x width) pixels, the network was made "
            f"for {expected[0]}x{expected[1]}: what it sees may be off the centre"
        )
    if counts.late:
        found.append(
            f"{counts.late:,} of {counts.events:,} events came when their step was over, by up to "
            f"{counts.largest_delay_us:,} us, and were not used; raise --tolerance if there are many"
        )
    if counts.noise:
        found.append(
            f"{counts.noise:,} of {counts.events:,} events had no other one beside them shortly before and were "
            "dropped as noise"
        )
    if counts.unseen:
        found.append(f"{counts.unseen:,} of {counts.events:,} events lie outside of the centre that the network sees")
    if counts.shortened:
        found.append(
            f"the clock jumped ahead by {_seconds(counts.shortened)}: shortened to the longest gap (--max-gap)"
        )
    if counts.restarts:
        found.append(f"the clock jumped back by {_seconds(counts.restarts)}: taken as a restart, time goes on")
    return found


def _seconds(jumps_us: list[int]) -> str:
    named = ", ".join(f"{abs(jump) * 1e-6:,.1f} s" for jump in jumps_us[:NAMED_JUMPS])
    more = len(jumps_us) - NAMED_JUMPS
    return f"{named} and {more} times more" if more > 0 else named
