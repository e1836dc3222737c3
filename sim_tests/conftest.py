"""Settings and helpers that all tests share."""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import settings

from decolle_hw import cli

# Numba compiles at the first call, so no deadline; the same examples in every run, so that a red test stays red.
# HYPOTHESIS_PROFILE=explore draws new ones, and more of them.
settings.register_profile("default", deadline=None, derandomize=True, max_examples=100)
settings.register_profile("explore", deadline=None, max_examples=5000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_tests(tmp_path_factory):
    """Binned recordings go to a folder of this session, never to the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DECOLLE_HW_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@contextmanager
def torch_keeps_its_threads():
    """Whatever happens within, torch has as many threads as before.

    Numba's OpenMP layer, when it starts, sets the number of the process to that of the cores: from then on torch, which
    shares it, would split its small tensors among threads that wait for each other by spinning.
    """
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else None
    yield
    if torch and torch.get_num_threads() != before:
        torch.set_num_threads(before)


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report():
    """Some modules make networks while they are imported."""
    with torch_keeps_its_threads():
        yield


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol():
    """A test and its fixtures of any scope."""
    with torch_keeps_its_threads():
        yield


@pytest.fixture(scope="session")
def drawn_digits():
    """Event arrays of the embedded digits that were drawn so far, by camera and index."""
    return {}


@pytest.fixture
def digits_drawn_once(drawn_digits, monkeypatch):
    """Reading the embedded digits again costs nothing; for tests of what comes after reading."""
    remember_digits(drawn_digits, monkeypatch)


@pytest.fixture(scope="module")
def digits_drawn_once_for_module(drawn_digits):
    """The same, for fixtures of a module that train."""
    with pytest.MonkeyPatch.context() as patch:
        remember_digits(drawn_digits, patch)
        yield


def remember_digits(drawn: dict, patch: pytest.MonkeyPatch) -> None:
    """Put a memory in front of the simulated camera."""
    from decolle_hw.data import digits, stills

    record = digits.record

    def remembered(spec, indices_S):
        camera = json.dumps(stills.identity(spec))
        missing = [index for index in dict.fromkeys(indices_S.tolist()) if (camera, index) not in drawn]
        for index, events in zip(missing, record(spec, np.array(missing, int)), strict=True):
            drawn[camera, index] = events
        for index in indices_S.tolist():
            yield drawn[camera, index].copy()

    patch.setattr(digits, "record", remembered)


class Outcome(NamedTuple):
    """What a command left."""

    code: int
    out: str
    err: str


@pytest.fixture
def decolle_hw(digits_drawn_once, monkeypatch, capsys):
    """Call the entry point in this process, as the console script does."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

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

    yield call
    for number, handler in handlers.items():  # the entry point sets its own
        signal.signal(number, handler)


# Shells start background jobs with Ctrl-C ignored, and what the tests start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
