"""What of the documents is not run as it stands, and why: every departure from what a reader types is a line here."""

from __future__ import annotations

import importlib.util
import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Output samples, equations and files that a page shows; nobody types them.
SHOWN = ("text", "json", "csv")
# Languages whose lines are typed, and those that are handed to Python or to the reader of descriptions.
TYPED = ("bash", "console", "sh")
LANGUAGES = (*SHOWN, *TYPED, "python", "yaml")

# Programs of any system that a page may use; they run for real, in the folder of the page.
PLAIN = ("cat", "cd", "cp", "echo", "head", "ls", "mkdir", "mv")


class Shrink(NamedTuple):
    """Options that a command gets on top of what the page says, so that it takes seconds; the last value counts."""

    command: str
    when: Callable[[list[str]], bool]
    options: tuple[str, ...]


def _has(*words: str) -> Callable[[list[str]], bool]:
    return lambda arguments: all(word in arguments for word in words)


def _lacks(*words: str) -> Callable[[list[str]], bool]:
    return lambda arguments: not any(word in arguments for word in words)


def _dense(arguments: list[str]) -> bool:
    """Of the shipped models, those that are a stack of dense layers."""
    return {"digits", "digits-cuba", "nmnist", "nmnist-cuba"} & set(arguments) != set() or len(arguments) == 1


FEW = ("--set", "dataset.train_limit=10", "--set", "dataset.test_limit=64")
SMALL = ("--set", "network.Mhid=[48, 24, 24]")  # as many layers as the shipped dense networks have
SHRUNK = (
    Shrink("train", _lacks("--resume"), ("--epochs", "1", *FEW)),
    Shrink("train", _dense, SMALL),
    Shrink("run", lambda given: _lacks("--stream")(given) and "reference" not in given, ("--samples", "2")),
    Shrink("run", lambda given: _lacks("--stream")(given) and "reference" in given, ("--samples", "5")),
    # A network that has seen 10 recordings once decides by chance: what integers change of that says nothing.
    Shrink("verify", _lacks(), ("--samples", "1")),
    Shrink("verify", _has("--max-drop"), ("--max-drop", "100")),
)


class Looked(NamedTuple):
    """A line that is looked at, not run."""

    pattern: str
    reason: str
    check: Callable[[str], None]


def _make_target(line: str) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for word in re.sub(r" -C [^ ]+", "", line).split()[1:]:
        assert word in targets or "=" in word, f"the Makefile has no target {word!r}, only {', '.join(targets)}"


def _extra(line: str) -> None:
    setup = (ROOT / "setup.cfg").read_text(encoding="utf-8")
    for extra in re.findall(r"\[([a-z,]+)\]", line):
        for name in extra.split(","):
            assert re.search(rf"^{name} =$", setup, re.MULTILINE), f"setup.cfg has no extra {name!r}"


def _module(name: str) -> Callable[[str], None]:
    def check(line: str) -> None:
        assert importlib.util.find_spec(name) is not None, f"{name} is not installed"

    return check


class _AcceptedError(Exception):
    """argparse took the arguments."""


def _script_accepts(line: str) -> None:
    """A script exists, and its own argparse takes the arguments; it ends there."""
    import argparse

    script, *arguments = line.split()[1:]
    assert (ROOT / script).is_file(), f"{script} does not exist"
    parse = argparse.ArgumentParser.parse_args

    def parsed(self: argparse.ArgumentParser, *given: object, **options: object) -> None:
        parse(self, arguments)
        raise _AcceptedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", parsed)
        patch.setattr(sys, "argv", [script, *arguments])
        patch.syspath_prepend(str((ROOT / script).parent))
        try:
            runpy.run_path(str(ROOT / script), run_name="__main__")
        except _AcceptedError:
            return
        except SystemExit as stop:
            raise AssertionError(f"{script} does not accept {' '.join(arguments)} (exit {stop.code})") from None
    raise AssertionError(f"{script} never looked at its arguments")


def _nothing(line: str) -> None:
    """Nothing to look at."""


NOT_RUN = (
    Looked(r"make( |$)", "installs 6 GB, or runs the tests themselves; the target must exist", _make_target),
    Looked(r"git clone ", "needs a network; the test of a new user clones for real", _nothing),
    Looked(r"(python -m )?pip install ", "needs a network; the extra that it names must exist", _extra),
    Looked(r"\. (decolle-hw/)?\.venv/bin/activate", "the tests run in that environment", _nothing),
    Looked(r"tensorboard ", "serves until it is stopped; it must be installed", _module("tensorboard")),
    Looked(r"python benchmarks/", "takes minutes; the script must exist and accept the arguments", _script_accepts),
)
