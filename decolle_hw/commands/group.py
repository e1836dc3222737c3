"""The commands by name: the module of one is imported when it is used, or its own help is asked for.

Every one of them also takes the options of `decolle_hw.commands.reporting`, before its name and after.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from decolle_hw.commands.reporting import Reporting
from decolle_hw.errors import UsageError, nearest

# Section of --help -> name of a command -> (where it is, its line in --help).
Table = Mapping[str, Mapping[str, tuple[str, str]]]


class ReaderLeftError(Exception):
    """A broken pipe under a name that click, which would end the process with exit code 1, does not know."""


@contextmanager
def _reader_may_leave() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise ReaderLeftError from error


class ReportingOption(click.Option):
    """An option that every command has."""


class LazyGroup(click.Group):
    """A group that knows its commands from a table, so that --help imports none of them."""

    def __init__(self, *arguments: Any, table: Table, **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self.sections = table
        self.table = {name: entry for entries in table.values() for name, entry in entries.items()}
        self.params += _reporting_options()

    def main(self, *arguments: Any, **wishes: Any) -> Any:
        """Entry point; `obj` is the `Reporting` that the options fill in."""
        with wishes.setdefault("obj", Reporting()):
            try:
                return super().main(*arguments, **wishes)
            except ReaderLeftError as left:
                raise BrokenPipeError from left

    def make_context(self, *arguments: Any, **wishes: Any) -> click.Context:
        """--help prints here."""
        with _reader_may_leave():
            return super().make_context(*arguments, **wishes)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with _reader_may_leave():
            return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """None: there is no such command."""
        if cmd_name not in self.table:
            return None
        if cmd_name not in self.commands:
            module, _, function = self.table[cmd_name][0].partition(":")
            command = getattr(importlib.import_module(module), function)
            _let_report(command)
            self.commands[cmd_name] = command
        return self.commands[cmd_name]

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in self.table and not args[0].startswith("-"):
            raise UsageError(f"no such command {args[0]!r}; {nearest(args[0], self.table)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """One list per section, from the table alone."""
        for section, entries in self.sections.items():
            with formatter.section(section):
                formatter.write_dl([(name, line) for name, (_, line) in entries.items()])


def _let_report(command: click.Command) -> None:
    """Give a command, and those below it, the options once."""
    if any(isinstance(parameter, ReportingOption) for parameter in command.params):
        return
    command.params += _reporting_options()
    if isinstance(command, click.Group):
        for below in command.commands.values():
            _let_report(below)


def _reporting_options() -> list[click.Parameter]:
    """The log comes first, so that it has what the others say."""
    return [
        ReportingOption(
            ["-v", "--verbose"], count=True, expose_value=False, is_eager=True, callback=_verbose,
            help="Also versions, times, warnings of libraries, tracebacks of defects; -vv for more.",
        ),
        ReportingOption(
            ["-q", "--quiet"], is_flag=True, expose_value=False, is_eager=True, callback=_quiet,
            help="Only results and errors, no progress.",
        ),
        ReportingOption(
            ["--log-file"], type=click.Path(path_type=Path), metavar="FILE", expose_value=False, is_eager=True,
            callback=_log_file, help="Add all that is printed, and more, to FILE, with the time.",
        ),
    ]  # fmt: skip


def _reporting(ctx: click.Context) -> Reporting:
    """That of this call; where a command was called by itself, one without effect."""
    found = None if ctx.resilient_parsing else ctx.find_object(Reporting)
    return found or Reporting()


def _verbose(ctx: click.Context, parameter: click.Parameter, value: int) -> None:
    if value:
        _reporting(ctx).say_more(value)


def _quiet(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        _reporting(ctx).say_less()


def _log_file(ctx: click.Context, parameter: click.Parameter, value: Path | None) -> None:
    if value is not None:
        _reporting(ctx).log_to(value)
