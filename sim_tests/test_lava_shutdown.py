"""A Lava run always ends, and takes its processes, its files and its shared memory with it.

Each test starts a Python of its own in a process group of its own, as a terminal does, so that whatever is left
over can be found by its group.
"""

from __future__ import annotations

import importlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from decolle_hw.compiler.layers import NeuronKind
from decolle_hw.sim.random_program import random_program

try:
    runner = importlib.import_module("decolle_hw.lava_backend.runner")
except ImportError as error:
    if sys.version_info < (3, 11):
        raise  # there Lava is an ordinary dependency: what the project claims must not go untested in silence
    pytest.skip(f"lava cannot be imported: {error}", allow_module_level=True)

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc")

SECONDS_TO_START = 40
SECONDS_TO_END = 5
WORKERS = 7  # the input, two layers of synapses and neurons, the service, the manager of the shared memory

# A run of many hours behind the real entry point. It stands in for all commands, which would import PyTorch first.
PROGRAM = """
import click
import numpy as np
from decolle_hw import cli
from decolle_hw.lava_backend import processes, runner
from decolle_hw.sim.random_program import random_program, random_spikes

fail_in, fail_at = FAILURE
if fail_in is not None:
    model = getattr(processes, fail_in)
    if fail_at == 0:
        def broken(self, proc_params):
            raise ValueError("broken on purpose")
        model.__init__ = broken
    else:
        step = model.run_spk
        def broken(self):
            if self.time_step == fail_at:
                raise ValueError("broken on purpose")
            step(self)
        model.run_spk = broken

@click.command()
def run():
    rng = np.random.default_rng(1)
    program = random_program(rng, "decolle", sizes=(20, 10, 8), steps=20)
    spikes_RTI = np.repeat(random_spikes(rng, program, 10), RECORDINGS // 10, axis=0)
    print("starting", flush=True)
    runner.run_lava(program, spikes_RTI, progress=lambda done, total: print("done", done, total, flush=True))
    AFTER

cli.cli = run
cli.main()
"""


class Running:
    """A run in its own process group, its temporary folder, and its shared memory."""

    def __init__(self, folder: Path, recordings: int, failure: tuple[str | None, int], after: str) -> None:
        self.folder = folder
        text = PROGRAM.replace("RECORDINGS", str(recordings)).replace("FAILURE", repr(failure)).replace("AFTER", after)
        self.segments: set[Path] = set()  # of shared memory, as far as known
        self.process = subprocess.Popen(
            [sys.executable, "-c", text],
            env={**os.environ, "TMPDIR": str(folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def wait_for(self, word: str) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(word):
                mapped = Path(f"/proc/{self.process.pid}/maps").read_text()
                self.segments = {Path(name) for name in re.findall(r"/dev/shm/psm_\w+", mapped)}
                return
        assert self.process.stderr is not None
        pytest.fail(f"the run ended before {word!r}: {self.process.stderr.read()}")

    def ends(self, code: int, seconds: float = SECONDS_TO_END, spared: tuple[str, ...] = ()) -> str:
        """Assert that it ends in time, with this exit code, and with nothing left; returns standard error.

        Files whose names start with one of `spared` may stay.
        """
        begin = time.monotonic()
        try:
            _, err = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            pytest.fail(f"still running after {seconds} s: {self.group()}")
        while self.group() and time.monotonic() < begin + seconds:
            time.sleep(0.05)  # Python's resource tracker ends when it sees that its parent has
        assert self.process.returncode == code, err
        assert self.group() == {}, "processes left behind"
        assert [path.name for path in self.folder.iterdir() if not path.name.startswith(spared)] == []
        assert [path for path in self.segments if path.exists()] == []
        return err.lstrip()  # click ends the line of a terminal's ^C

    def group(self) -> dict[int, str]:
        """Command lines of the living processes in the group, by pid."""
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with suppress(OSError):
                    state, _, group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
                    if int(group) == self.process.pid and state != "Z":
                        found[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ")[-60:]
        return found

    def workers(self) -> list[int]:
        """The forks of the run, oldest first."""
        return sorted(
            pid
            for pid, command in self.group().items()
            if pid != self.process.pid and "resource_tracker" not in command
        )


@contextmanager
def running(
    folder: Path, *, recordings: int = 100_000, failure: tuple[str | None, int] = (None, 0), after: str = "pass"
) -> Iterator[Running]:
    run = Running(folder, recordings, failure, after)
    try:
        yield run
    finally:
        with suppress(ProcessLookupError):
            os.killpg(run.process.pid, signal.SIGKILL)
        run.process.communicate()


@pytest.mark.parametrize("whom", ["the group", "the parent"])
def test_ctrl_c_ends_a_run(tmp_path: Path, whom: str) -> None:
    with running(tmp_path) as run:
        run.wait_for("done")
        assert len(run.workers()) == WORKERS and run.segments
        if whom == "the group":
            os.killpg(run.process.pid, signal.SIGINT)
        else:
            run.process.send_signal(signal.SIGINT)
        assert run.ends(130) == "error: interrupted\n"


@pytest.mark.parametrize("how", ["terminate", "kill"])
def test_the_end_of_the_parent_ends_a_run(tmp_path: Path, how: str) -> None:
    """SIGTERM cleans up as Ctrl-C does; after SIGKILL nobody is there to remove files, but no process stays."""
    with running(tmp_path) as run:
        run.wait_for("done")
        assert len(run.workers()) == WORKERS and run.segments
        if how == "terminate":
            os.killpg(run.process.pid, signal.SIGTERM)
            assert run.ends(143) == "error: interrupted\n"
        elif sys.platform.startswith("linux"):  # elsewhere the kernel ends no orphans
            run.process.kill()
            run.ends(-signal.SIGKILL, spared=("decolle-hw-lava-", "pymp-"))


def test_ctrl_c_again_and_again_ends_a_run(tmp_path: Path) -> None:
    """Through the start of the workers and the end of the run: a user loses patience."""
    with running(tmp_path) as run:
        run.wait_for("starting")
        while not run.workers():
            time.sleep(0.001)
        for _ in range(4):
            with suppress(ProcessLookupError):
                os.killpg(run.process.pid, signal.SIGINT)
            time.sleep(0.05)
        # One that strikes Python's own exit ends it as a signal does, which a shell reports as 130 too.
        code = run.process.wait(SECONDS_TO_END)
        assert code in (130, -signal.SIGINT)
        run.ends(code)


@pytest.mark.parametrize(("model", "step"), [("PyRecordedSpikes", 30), ("PyDecolleModel", 630), ("PyDecolleModel", 0)])
def test_an_exception_in_a_process_model_ends_a_run(tmp_path: Path, model: str, step: int) -> None:
    """In the first stretch of steps, in the second, and before the first step."""
    with running(tmp_path, failure=(model, step)) as run:
        run.wait_for("starting")
        err = run.ends(1, seconds=SECONDS_TO_START)
    assert err.startswith(f"error: Lava stopped: {model} of ") and err.count("\n") == 1, err
    assert err.endswith("raised ValueError: broken on purpose\n")


@pytest.mark.parametrize("which", ["a neuron", "the service", "the manager"])
def test_the_death_of_a_worker_ends_a_run(tmp_path: Path, which: str) -> None:
    """Without the manager, which only hands out shared memory, a run goes on; then Ctrl-C still cleans up."""
    with running(tmp_path) as run:
        run.wait_for("done")
        manager, *others = run.workers()
        os.kill({"a neuron": others[2], "the service": others[-1], "the manager": manager}[which], signal.SIGKILL)
        if which == "the manager":
            os.killpg(run.process.pid, signal.SIGINT)
            assert run.ends(130, spared=("pymp-",)) == "error: interrupted\n"  # a folder of its own, for its socket
        else:
            err = run.ends(1)
            assert err.startswith("error: Lava stopped: ") and err.endswith("died (SIGKILL)\n"), err
            assert err.count("\n") == 1


def test_a_run_leaves_nothing_in_a_process_that_goes_on(tmp_path: Path) -> None:
    """No child, no thread, no file, and Ctrl-C works as before."""
    after = """
    import os, signal, tempfile, threading
    children = open(f"/proc/self/task/{os.getpid()}/children").read().split()
    names = [open(f"/proc/{child}/cmdline").read() for child in children]  # empty for a zombie
    assert [name for name in names if "resource_tracker" not in name] == [], names
    assert os.listdir(tempfile.gettempdir()) == []
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert threading.active_count() == 1, threading.enumerate()
"""
    with running(tmp_path, recordings=40, after=after) as run:
        run.wait_for("done 40 40")
        assert run.ends(0) == ""


@pytest.mark.parametrize(("neuron", "registers"), [("cuba", {"u", "v"}), ("decolle", {"u", "v", "r"})])
def test_no_recordings_start_no_lava(neuron: NeuronKind, registers: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "run_network", None)
    program = random_program(np.random.default_rng(1), neuron)
    trace = runner.run_lava(program, np.zeros((0, 25, 60), np.uint8), record=True)
    assert trace.num_recordings == 0
    for layer, traced in zip(program.layers, trace.layers, strict=True):
        assert traced.spikes.shape == (0, 25, layer.num_neurons)
        assert traced.registers.keys() == registers
        assert {values.shape for values in traced.registers.values()} == {traced.spikes.shape}
    assert runner.run_lava(program, np.zeros((0, 25, 60), np.uint8)).layers[0].registers == {}
