"""How much a command says, and where: `--verbose`, `--quiet`, `--log-file`, `--json -`; the same for every command.

Standard output is for results, standard error for all that is about them. The log file gets both, and what the library
has to say besides (`logging.getLogger("decolle_hw")`), with the time.
"""

from __future__ import annotations

import logging
import sys
import warnings
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import click

from decolle_hw import __version__
from decolle_hw.errors import DecolleHwError, UsageError

LOGGER = logging.getLogger("decolle_hw")
PRINTED = logging.getLogger("decolle_hw.printed")  # of decolle_hw.console, which --help must not import
LINE = "%(asctime)s %(levelname)s %(message)s"
PACKAGES = ("numpy", "torch", "numba", "tonic", "lava-nc", "lava-dl", "h5py", "pydantic", "rich", "click")


class Reporting:
    """The wishes of one call of the command line, in force within the block."""

    def __init__(self) -> None:
        self.verbose = 0
        self.quiet = False
        self.log_file: Path | None = None
        self.out: TextIO = sys.stdout
        self._stack = ExitStack()
        self._on_terminal: logging.Handler | None = None

    def __enter__(self) -> Reporting:
        self.out = sys.stdout
        self._stack.callback(setattr, sys, "stdout", sys.stdout)
        self._stack.callback(setattr, sys, "stderr", sys.stderr)
        self._stack.callback(LOGGER.setLevel, LOGGER.level)
        self._stack.callback(setattr, LOGGER, "propagate", LOGGER.propagate)
        LOGGER.propagate = False  # libraries give Python's root logger handlers of their own
        self._add(logging.NullHandler())  # else Python prints errors that nobody logs once more
        self._stack.enter_context(warnings.catch_warnings())
        warnings.showwarning = self._show_warning
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if isinstance(error, (KeyboardInterrupt, click.Abort)):
            PRINTED.error("interrupted")
        elif isinstance(error, click.ClickException):
            PRINTED.error("%s", error.format_message())
        elif isinstance(error, DecolleHwError):
            PRINTED.error("%s", error)
        elif isinstance(error, Exception) and not isinstance(error, BrokenPipeError):
            PRINTED.error("%s: %s", type(error).__name__, error, exc_info=error)
        self._stack.close()

    def say_more(self, times: int) -> None:
        """`-v`; may be given before and after the name of a command."""
        self.verbose += times
        self._require_one_way()
        if self._on_terminal is None:
            self._on_terminal = _Terminal()
            self._listen(self._on_terminal)
        self._on_terminal.setLevel(logging.INFO if self.verbose == 1 else logging.DEBUG)

    def say_less(self) -> None:
        """`-q`."""
        self.quiet = True
        self._require_one_way()

    def log_to(self, path: Path) -> None:
        """`--log-file`; raises `UsageError` where it cannot be written."""
        if path.suffix == ".net":
            raise UsageError(f"--log-file {path}: .net is for compiled networks; name it otherwise")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handler = _LogFile(path, encoding="utf-8", errors="backslashreplace")  # names of files need not be UTF-8
        except FileExistsError:
            raise UsageError(f"--log-file {path}: {path.parent} is a file, not a folder") from None
        except OSError as error:
            raise UsageError(f"--log-file {path}: cannot be written: {error.strerror or error}") from None
        self.log_file = path
        handler.setFormatter(logging.Formatter(LINE))
        self._listen(handler)
        sys.stdout = _Logged(sys.stdout, logging.INFO)  # type: ignore[assignment]
        sys.stderr = _Logged(sys.stderr, logging.WARNING)  # type: ignore[assignment]

    def json_on_standard_output(self) -> None:
        """`--json -`: nothing else goes there from now on."""
        sys.stdout = sys.stderr

    def _require_one_way(self) -> None:
        if self.verbose and self.quiet:
            raise UsageError("--verbose and --quiet exclude each other; give one")

    def _add(self, handler: logging.Handler) -> None:
        LOGGER.addHandler(handler)
        self._stack.callback(handler.close)
        self._stack.callback(LOGGER.removeHandler, handler)

    def _listen(self, handler: logging.Handler) -> None:
        """Send it all there is; the first lines to it alone, as another may have them."""
        LOGGER.setLevel(logging.DEBUG)
        self._add(handler)
        for line in _introduction():
            handler.handle(LOGGER.makeRecord(LOGGER.name, logging.INFO, "", 0, "%s", (line,), None))

    def _show_warning(
        self, message: Warning | str, category: type[Warning], filename: str, lineno: int, file: TextIO | None = None,
        line: str | None = None,
    ) -> None:  # fmt: skip
        """One line. Of libraries only with `-v`: they mean whoever calls them, which is us."""
        if category.__module__.partition(".")[0] == "decolle_hw":
            print(f"warning: {message}", file=sys.stderr)
        else:
            text = " ".join(str(message).split())
            LOGGER.info("%s:%s: %s: %s", filename, lineno, category.__name__, text)


def _introduction() -> tuple[str, ...]:
    import platform
    import shlex

    from decolle_hw.doctor.packages import version_of

    versions = ", ".join(f"{name} {version_of(name) or 'is not installed'}" for name in PACKAGES)
    return (
        shlex.join(["decolle-hw", *sys.argv[1:]]),
        f"decolle-hw {__version__}, Python {platform.python_version()} on {platform.platform()}",
        versions,
    )


class _Terminal(logging.Handler):
    """`-v`: what the library has to say, on standard error as it is just now (bars replace it)."""

    def __init__(self) -> None:
        super().__init__()
        self.addFilter(lambda record: record.name != PRINTED.name)

    def emit(self, record: logging.LogRecord) -> None:
        stream = sys.stderr
        print(self.format(record), file=stream.rich_proxied_file if isinstance(stream, _Logged) else stream)


class _LogFile(logging.FileHandler):
    """A log that cannot be written is said once, and the work goes on."""

    is_broken = False

    def emit(self, record: logging.LogRecord) -> None:
        if not self.is_broken:
            super().emit(record)

    def close(self) -> None:
        with suppress(OSError):  # was said when it was written
            super().close()

    def handleError(self, record: logging.LogRecord) -> None:
        self.is_broken = True
        error = sys.exc_info()[1]
        reason = error.strerror if isinstance(error, OSError) else error
        print(f"warning: {self.baseFilename}: cannot be written: {reason}; nothing more is logged", file=sys.stderr)


class _Logged:
    """A stream whose lines go into the log as well. What a console prints there is logged by itself."""

    def __init__(self, stream: TextIO, level: int) -> None:
        self.rich_proxied_file = stream  # rich writes there directly
        self._level = level
        self._line = ""

    def write(self, text: str) -> int:
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            if line.strip():
                PRINTED.log(self._level, "%s", line)
        return self.rich_proxied_file.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rich_proxied_file, name)
