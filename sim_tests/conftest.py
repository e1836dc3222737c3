"""Settings and helpers that all tests share."""

from __future__ import annotations

import os
import signal
import sys
from typing import NamedTuple

import pytest
from hypothesis import settings

from decolle_hw import cli

# Numba compiles at the first call, so no deadline; the same examples in every run, so that a red test stays red.
# HYPOTHESIS_PROFILE=explore draws new ones, and more of them.
settings.register_profile("default", deadline=None, derandomize=True, max_examples=200)
settings.register_profile("explore", deadline=None, max_examples=5000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_tests(tmp_path_factory):
    """Binned recordings go to a folder of this session, never to the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DECOLLE_HW_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


class Outcome(NamedTuple):
    """What a command left."""

    code: int
    out: str
    err: str


@pytest.fixture
def decolle_hw(monkeypatch, capsys):
    """Call the entry point in this process, as the console script does."""

    def call(*arguments: str) -> Outcome:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["decolle-hw", *arguments])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code or 0
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


# Shells start background jobs with Ctrl-C ignored, and what the tests start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
