"""Lava is examined in a process of its own: it may hang, or die, and doctor must say so.

The child prints a line of JSON per stage as it comes, so that whatever ends it, the stages before are known.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import IO, NamedTuple

from decolle_hw.doctor.finding import in_words
from decolle_hw.doctor.self_tests import LAVA, LEARNING, lava, lava_learning

IMPORT_NC, IMPORT_DL = "import lava-nc", "import lava-dl"
RUNNER = "decolle_hw.lava_backend.runner"  # with all of lava-nc that we need
NETX = "lava.lib.dl.netx.hdf5"  # of lava-dl, what our artifacts are written for
GRACE_SECONDS = 3.0
LIMIT_SECONDS = 180.0  # of all stages; an idle machine needs about ten


class Outcome(NamedTuple):
    """Of one stage."""

    passed: bool
    text: str  # what was found, or why it failed
    seconds: float


@contextmanager
def lava_child(stages: Sequence[str], limit: float = LIMIT_SECONDS) -> Iterator[LavaChild]:
    """A process that goes through the stages; it ends with the block."""
    with (
        tempfile.TemporaryFile("w+") as out,
        tempfile.TemporaryFile("w+") as err,
        tempfile.TemporaryDirectory(prefix="decolle-hw-doctor-") as own,  # a Lava that is ended leaves its tapes
    ):
        # Its path is ours: a folder that PYTHONPATH would put before the standard library stays where it is.
        code = (
            f"import sys; sys.path[:] = {sys.path!r}\n"
            f"from decolle_hw.doctor.lava_child import main; main({list(stages)!r})"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True,
            env=os.environ | {"TMPDIR": own},
        )  # fmt: skip
        child = LavaChild(process, tuple(stages), out, err, limit)
        try:
            yield child
        finally:
            child.end()


class LavaChild:
    """See `lava_child`."""

    def __init__(
        self, process: subprocess.Popen[bytes], stages: tuple[str, ...], out: IO[str], err: IO[str], limit: float
    ) -> None:
        self.process, self.stages, self.out, self.err, self.limit = process, stages, out, err, limit
        self.began = time.monotonic()

    def outcomes(self) -> dict[str, Outcome]:
        """Wait for the end, at most until the limit; one outcome per stage."""
        try:
            self.process.wait(max(0.0, self.began + self.limit - time.monotonic()))
            ended = self._how_it_ended()
        except subprocess.TimeoutExpired:
            ended = f"did not finish within {self.limit:.0f} s, and was ended"
        self.end()
        self.out.seek(0)
        found = {}
        for line in self.out:
            if line.startswith("{") and line.endswith("}\n"):  # Lava prints as well
                fields = json.loads(line)
                stage = fields.pop("stage")
                found[stage] = Outcome(**fields)
        missing = [stage for stage in self.stages if stage not in found]
        for index, stage in enumerate(missing):
            text = ended if index == 0 else f"not reached: {missing[0]} {ended}"
            found[stage] = Outcome(False, text, 0.0)
        return found

    def end(self) -> None:
        """Child and workers. What outlives the child for a moment removes its shared memory, then goes by itself."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        until = time.monotonic() + GRACE_SECONDS
        with contextlib.suppress(ProcessLookupError):  # the group is gone
            while time.monotonic() < until:
                os.killpg(self.process.pid, 0)
                time.sleep(0.05)
            os.killpg(self.process.pid, signal.SIGKILL)

    def _how_it_ended(self) -> str:
        code = self.process.returncode
        if code < 0:
            return f"died of {signal.Signals(-code).name}"
        self.err.seek(0)
        last = self.err.read().strip().rpartition("\n")[2]
        return f"ended with exit code {code}" + (f": {last}" if last else "")


def main(stages: Sequence[str]) -> None:
    """In the child."""
    for stage in stages:
        began = time.perf_counter()
        try:
            passed, text = True, _STAGES[stage]()
        except Exception as error:
            passed, text = False, in_words(error)
        outcome = Outcome(passed, text, time.perf_counter() - began)
        print(json.dumps({"stage": stage, **outcome._asdict()}), flush=True)


def _imports(module: str) -> str:
    importlib.import_module(module)
    return "imports"


SELF_TESTS = {LAVA: lava, LEARNING: lava_learning}
_STAGES: dict[str, Callable[[], str]] = {
    IMPORT_NC: partial(_imports, RUNNER),
    **SELF_TESTS,
    IMPORT_DL: partial(_imports, NETX),
}
