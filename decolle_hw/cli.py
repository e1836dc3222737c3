"""The entry point: the commands, and how errors and signals end them."""

from __future__ import annotations

import io
import os
import signal
import sys

import click

from decolle_hw import __version__
from decolle_hw.commands.group import LazyGroup, Table
from decolle_hw.commands.reporting import Reporting
from decolle_hw.errors import DecolleHwError

PROGRAM = "decolle-hw"
INTERRUPTED = 130  # what shells report after SIGINT
TERMINATED = 143  # and after SIGTERM
BROKEN_PIPE = 141  # and after SIGPIPE
DEFECT = 70  # EX_SOFTWARE of BSD's sysexits.h
NO_WRITING = 74  # EX_IOERR

# A command is registered by its name: where its function is (imported when it is used), and its line in --help.
COMMANDS: Table = {
    "Start here": {
        "init": ("decolle_hw.commands.projects:init", "A folder with a description of your own recordings."),
        "demo": ("decolle_hw.commands.demos:demo", "The whole story of a model, or an experiment of learning on chip."),
    },
    "Train": {
        "train": ("decolle_hw.commands.learning:train", "Train a model of the zoo, or a YAML of your own."),
        "evaluate": ("decolle_hw.commands.learning:evaluate", "Test the float network of a training run."),
        "runs": ("decolle_hw.commands.runs:runs", "What was trained and what was compiled from it; compare runs."),
    },
    "Deploy": {
        "compile": ("decolle_hw.commands.deploying:compile_", "Turn a trained network into integers on cores."),
        "run": ("decolle_hw.commands.running:run", "Run a compiled network, learning on chip with --learn."),
        "verify": ("decolle_hw.commands.running:verify", "Compare float, quantized, integer reference and Lava."),
        "export": ("decolle_hw.commands.deploying:export", "Write a compiled network for other tools (NIR)."),
    },
    "Look": {
        "data": ("decolle_hw.commands.data:data", "What lies in a folder of recordings: counts, rates, pictures."),
        "targets": ("decolle_hw.commands.deploying:targets", "What there is to compile for, with every limit."),
        "models": ("decolle_hw.commands.environment:models", "The model zoo, with what was measured of it."),
        "config": ("decolle_hw.commands.config:config", "Every value of a model and where it is from; a schema."),
    },
    "Set up": {
        "doctor": ("decolle_hw.commands.environment:doctor", "What works here, what does not, and the remedy."),
        "completion": ("decolle_hw.commands.environment:completion", "Let a shell complete commands and names."),
    },
}


class Terminated(KeyboardInterrupt):
    """SIGTERM: ends a command as Ctrl-C does, with an exit code of its own."""


@click.group(
    cls=LazyGroup, table=COMMANDS, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, prog_name=PROGRAM)
@click.pass_context
def cli(context: click.Context) -> None:
    """Train spiking networks with DECOLLE, compile them to Loihi 2 integers, prove them equal in Lava.

    \b
    decolle-hw train
    decolle-hw compile --target loihi2
    decolle-hw run --sim
    decolle-hw verify

    Each command continues from the newest result of the one before. -v, -q and --log-file may also stand after the
    name of a command.

    \b
    Exit codes:
      0    done
      1    a check was run and did not hold
      2    the input cannot be used as given: the message says what to change
      70   a defect of ours: run again with -v, and please report it
      74   a file or the output could not be written or read
      130  interrupted by Ctrl-C; 143 by SIGTERM, 141 by a reader that left
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
        click.echo("\nWhere to start: `decolle-hw demo` shows the whole story, `decolle-hw COMMAND --help` each part.")


def main() -> None:
    """Entry point: turns errors into one line and an exit code, never a traceback unless -v asks for it."""
    parent = os.getpid()

    def terminated(*_: object) -> None:
        if os.getpid() != parent:
            os._exit(TERMINATED)  # a worker of Lava, forked with this handler: nothing of ours to clean up
        raise Terminated

    _take_any_name()
    signal.signal(signal.SIGTERM, terminated)  # so that temporary files go, as they do on Ctrl-C
    reporting = Reporting()
    try:
        cli.main(prog_name=PROGRAM, standalone_mode=False, obj=reporting)
        if sys.stdout is not None:
            sys.stdout.flush()  # here, where an error can still be said
    except click.exceptions.Abort as abort:  # click's word for KeyboardInterrupt
        _interrupted(abort.__cause__)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else PROGRAM
        _fail(f"{_one_line(error.format_message()).rstrip('.')} (see `{command} --help`)", error.exit_code)
    except click.ClickException as error:
        _fail(error.format_message(), error.exit_code)
    except DecolleHwError as error:
        if error.exit_code in (INTERRUPTED, TERMINATED):  # saved and stopped as asked: not an error
            click.echo(str(error), err=True)
            sys.exit(error.exit_code)
        _fail(str(error), error.exit_code)
    except KeyboardInterrupt as interrupt:
        _interrupted(interrupt)
    except BrokenPipeError:
        _drop_output()
        sys.exit(BROKEN_PIPE)
    except Exception as error:
        _unexpected(error, reporting)


def _take_any_name() -> None:
    """Names of files need not be UTF-8, and no message about one may fail: what cannot be written is escaped."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _unexpected(error: Exception, reporting: Reporting) -> None:
    """What no part of the library has foreseen."""
    if reporting.verbose:
        import traceback

        traceback.print_exception(error)
    if isinstance(error, OSError) and error.errno is not None:
        if error.filename is None:  # standard output is full
            _drop_output()
        where = "standard output" if error.filename is None else os.fsdecode(error.filename)
        _fail(f"{where}: {error.strerror}", NO_WRITING)
    what = _one_line(f"{type(error).__name__}: {error}")
    if isinstance(error, MemoryError):
        _fail(f"not enough memory ({what}); close other programs, or use fewer recordings at a time", 2)
    again = "" if reporting.verbose else "; run again with -v for the traceback, and please report it"
    click.echo(f"internal error: {what}{again}", err=True)
    sys.exit(DEFECT)


def _drop_output() -> None:
    """Nobody reads it any longer, or nothing fits; Python would complain again when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _interrupted(cause: BaseException | None) -> None:
    at_once = getattr(cause, "exit_code", None)  # training.interruption.TrainingAborted
    if at_once is not None:
        click.echo("stopped at once; what was saved before is intact", err=True)
        sys.stdout.flush()
        os._exit(at_once)  # not sys.exit, which would wait for the threads that are still learning
    _fail("interrupted", TERMINATED if isinstance(cause, Terminated) else INTERRUPTED)


def _fail(message: str, code: int) -> None:
    click.echo(f"error: {message}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
