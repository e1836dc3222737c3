"""`run --sim --stream`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from decolle_hw.commands.options import STANDARD_OUTPUT, check_outputs, given_options, open_console
from decolle_hw.commands.reporting import Reporting
from decolle_hw.errors import CheckError, UsageError

if TYPE_CHECKING:
    from decolle_hw.streaming.session import Decision, StreamSession

Write = Callable[[dict[str, Any]], None]  # a JSON line

LONGEST_WINDOW = 1_000_000  # steps; a row of readouts is kept for each
LONGEST_US = 10**12
STREAMING_ONLY = {
    "--stream-format", "--reset-every", "--window", "--every", "--tolerance", "--max-gap", "--deltat", "--realtime",
    "--live",
}  # fmt: skip
NOT_STREAMING = {"--samples", "--batch", "--jobs", "--data", "--csv"}  # and --learn with what goes with it

_microseconds = click.IntRange(0, LONGEST_US)
_steps = click.IntRange(min=1)


def streaming_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of `run` that go with --stream."""
    options = (
        click.option(
            "--stream", metavar="FILE|-",
            help="Run events from a file or a pipe (-) as they come, and tell decisions as they happen.",
        ),
        click.option(
            "--stream-format", metavar="FORMAT",
            help="With --stream: what a pipe holds: text (lines x,y,t,p; t in us), nmnist or another format.",
        ),
        click.option(
            "--reset-every", type=_steps, metavar="STEPS",
            help="With --stream: cut it into recordings of so many steps, each from the reset state with a decision of "
            "its own, as in testing; default: the network is never reset.",
        ),
        click.option(
            "--window", type=click.IntRange(1, LONGEST_WINDOW), metavar="STEPS",
            help="With --stream: how far a decision looks back; default: as many steps as count in a recording.",
        ),
        click.option(
            "--every", type=_steps, metavar="STEPS",
            help="With --stream: tell a decision every so many steps; default: when it changes.",
        ),
        click.option(
            "--tolerance", type=_microseconds, metavar="US",
            help="With --stream: how late an event may come, in microseconds; default: one step.",
        ),
        click.option(
            "--max-gap", type=click.IntRange(1, LONGEST_US), metavar="US",
            help="With --stream: longer silences are shortened to this; default: 10 s, or 100 steps if longer.",
        ),
        click.option(
            "--deltat", type=click.IntRange(1, 10**9), metavar="US",
            help="With --stream: length of a step, for networks from elsewhere.",
        ),
        click.option("--realtime", is_flag=True, help="With --stream: replay a file at its own pace."),
        click.option(
            "--live", type=_microseconds, metavar="US",
            help="With --stream from a pipe: after so many microseconds without an event, the clock of this machine "
            "ends steps; default: only events end them.",
        ),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def split_options(given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Values of these options, and those of all others."""
    mine = {name.lstrip("-").replace("-", "_") for name in {"--stream", *STREAMING_ONLY}}
    return (
        {name: value for name, value in given.items() if name in mine},
        {name: value for name, value in given.items() if name not in mine},
    )


def refuse_streaming_options() -> None:
    """Raise `UsageError` where an option of a stream was given without one."""
    without = sorted(given_options() & STREAMING_ONLY)
    if without:
        raise UsageError(f"{', '.join(without)}: only for live input; add --stream FILE or --stream -")


def run_stream(
    artifact: Path | None, sim: bool, hw: bool, backend: Any, json_path: Path | None, learning_only: set[str],
    options: dict[str, Any],
) -> None:  # fmt: skip
    """The command itself. Args: learning_only: options that only --learn takes."""
    wrong = sorted(given_options() & (NOT_STREAMING | learning_only | {"--learn"}))
    if wrong:
        raise UsageError(f"{', '.join(wrong)}: a stream is one recording without labels; leave out with --stream")
    if options["reset_every"] and options["window"]:
        raise UsageError("--window: with --reset-every a decision looks back to the reset; leave one of the two out")
    if options["reset_every"] and options["every"]:
        raise UsageError("--every: with --reset-every each recording has one decision; leave one of the two out")
    from decolle_hw.workflow import require_simulator

    require_simulator(sim, hw)
    check_outputs(json=json_path)
    if (
        json_path is not None
        and json_path != STANDARD_OUTPUT
        and json_path.resolve() == Path(options["stream"]).resolve()
    ):
        raise UsageError(f"--json {json_path}: is the same file as --stream {options['stream']}; give another name")
    from decolle_hw.compiler.artifact import load_artifact, newest_artifact
    from decolle_hw.report.streamed import print_streamed, summary_json
    from decolle_hw.streaming.aim import stream_dataset
    from decolle_hw.streaming.session import StreamSession, StreamSettings
    from decolle_hw.streaming.source import STANDARD_INPUT, open_source

    if options["realtime"] and options["stream"] == STANDARD_INPUT:
        raise UsageError("--realtime: standard input has a pace of its own; it is for files")
    if options["realtime"] and options["live"] is not None:
        raise UsageError("--live: is for pipes, and --realtime for files; leave one of the two out")
    program = load_artifact(artifact or newest_artifact(Path()))
    spec = stream_dataset(program, options["deltat"])
    chosen = ("reset_every", "window", "every", "tolerance", "max_gap", "realtime", "live")
    session = StreamSession(program, spec, StreamSettings(backend, **{name: options[name] for name in chosen}))
    console = open_console()
    opened = open_source(options["stream"], options["stream_format"], live=options["live"] is not None)
    with _json_lines(json_path) as write, opened as source:
        try:
            _tell(session, source, console, write)
        except BrokenPipeError:  # the reader of the decisions left; the summary goes to people
            console.file = sys.stderr
            print_streamed(session.summary(), console)
            raise
        except BaseException:
            if session.summary().steps:
                print_streamed(session.summary(), console)
                write(summary_json(session.summary()))
            raise
        streamed = session.summary()
        print_streamed(streamed, console)
        write(summary_json(streamed))
    if streamed.comparison is not None and not streamed.comparison.equal:
        raise CheckError("Lava and the integer reference differ; run `decolle-hw verify` for the registers")


def _tell(session: StreamSession, source: Any, console: Any, write: Write) -> None:
    """Every decision as it happens; on a terminal also where the stream is now."""
    from decolle_hw.console import say_progress
    from decolle_hw.report.streamed import decision_json, decision_line

    program = session.program
    say_progress(console, f"{program.name} sees {source.place} ...")
    with closing(session.run(source)) as decisions, _now(session, console) as show:
        for decision in decisions:
            console.print(decision_line(program, decision), soft_wrap=True)
            write(decision_json(program, decision))
            show(decision)


@contextmanager
def _now(session: StreamSession, console: Any) -> Iterator[Callable[[Decision], None]]:
    """A line below all others that follows the stream, on a terminal only."""
    from decolle_hw.console import shows_bars

    if not shows_bars(console):
        yield _nothing
        return
    from rich.live import Live
    from rich.text import Text

    recent: list[str] = []

    def show(decision: Decision) -> None:
        recent.append(session.program.classes[decision.winner])
        del recent[:-8]

    def line() -> Text:
        now = session.last
        if now is None:
            return Text("waiting for events")
        name = session.program.classes[now.winner]
        shown = f"{now.time_us / 1e6:.3f} s  {name} (margin {now.margin})"
        return Text(f"{shown}  before: {' '.join(recent[:-1])}" if len(recent) > 1 else shown, overflow="ellipsis")

    with Live(get_renderable=line, console=console, transient=True, refresh_per_second=8):
        yield show


@contextmanager
def _json_lines(path: Path | None) -> Iterator[Write]:
    """Writes one line each, at once: whoever reads them need not wait for the end."""
    if path is None:
        yield _nothing
        return
    if path == STANDARD_OUTPUT:
        reporting = click.get_current_context().find_object(Reporting)
        yield _writer(reporting.out if reporting is not None else sys.stdout)
        return
    try:
        stream = path.open("w", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--json {path}: cannot be written: {error.strerror or error}") from None
    with stream:
        yield _writer(stream)
    click.echo(f"wrote {path}")


def _nothing(told: object) -> None:
    """Where nobody wants to hear of it."""


def _writer(stream: TextIO) -> Write:
    def write(content: dict[str, Any]) -> None:
        stream.write(json.dumps(content) + "\n")
        stream.flush()

    return write
