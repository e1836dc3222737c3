"""The entry point: the commands, and how errors and signals end them."""

from __future__ import annotations

import os
import signal
import sys

import click

from decolle_hw import __version__
from decolle_hw.commands.demos import demo
from decolle_hw.commands.deploying import compile_, export, targets
from decolle_hw.commands.learning import evaluate, train
from decolle_hw.commands.running import run, verify
from decolle_hw.errors import DecolleHwError

INTERRUPTED = 130  # what shells report after SIGINT
TERMINATED = 143  # and after SIGTERM
BROKEN_PIPE = 141  # and after SIGPIPE


class Terminated(KeyboardInterrupt):
    """SIGTERM: ends a command as Ctrl-C does, with an exit code of its own."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="decolle-hw")
def cli() -> None:
    """Train spiking networks with DECOLLE, compile them to Loihi 2 integers, prove them equal in Lava.

    \b
    decolle-hw train
    decolle-hw compile --target loihi2
    decolle-hw run --sim
    decolle-hw verify

    Each command continues from the newest result of the one before. Exit codes: 0 done, 1 a check did not hold,
    2 the input cannot be used, 130 and 143 interrupted.
    """


for _command in (train, evaluate, compile_, run, verify, export, targets, demo):
    cli.add_command(_command)


def main() -> None:
    """Entry point: turns our errors into one line and an exit code, never a traceback."""
    parent = os.getpid()

    def terminated(*_: object) -> None:
        if os.getpid() != parent:
            os._exit(TERMINATED)  # a worker of Lava, forked with this handler: nothing of ours to clean up
        raise Terminated

    signal.signal(signal.SIGTERM, terminated)  # so that temporary files go, as they do on Ctrl-C
    try:
        cli.main(standalone_mode=False)
    except click.exceptions.Abort as abort:  # click's word for KeyboardInterrupt
        _interrupted(abort.__cause__)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except DecolleHwError as error:
        if error.exit_code in (INTERRUPTED, TERMINATED):  # saved and stopped as asked: not an error
            click.echo(str(error), err=True)
            sys.exit(error.exit_code)
        _fail(str(error), error.exit_code)
    except KeyboardInterrupt as interrupt:
        _interrupted(interrupt)
    except BrokenPipeError:
        # The reader left (| head); Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(BROKEN_PIPE)


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
