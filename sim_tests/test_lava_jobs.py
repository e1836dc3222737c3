"""Lava runs side by side: the same results in the same order, and nothing that stays behind, whoever is killed."""

from __future__ import annotations

import importlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import job_work
import numpy as np
import pytest

from decolle_hw.errors import DataError, DecolleHwError
from decolle_hw.execution import Batch, merged, run_batch_in_lava
from decolle_hw.lava_backend import jobs
from decolle_hw.lava_backend.jobs import run_in_jobs
from decolle_hw.lava_backend.lifetime import WorkerError
from decolle_hw.sim.random_program import random_program, random_spikes

try:
    importlib.import_module("decolle_hw.lava_backend.runner")
except ImportError as error:
    if sys.version_info < (3, 11):
        raise  # there Lava is an ordinary dependency: what the project claims must not go untested in silence
    pytest.skip(f"lava cannot be imported: {error}", allow_module_level=True)

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds processes in /proc; uses prctl")

SECONDS_TO_START = 60
SECONDS_TO_END = 8
OF_A_JOB = 9  # itself, the input, two layers of synapses and neurons, the service, shared memory's manager and tracker


def numbers_with(action: Callable[[], None], after: int) -> Iterator[int]:
    for number in range(100):
        if number == after:
            action()
        yield number


def children() -> list[str]:
    """Command lines of the children of this process; empty ones are zombies."""
    found = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [Path(f"/proc/{child}/cmdline").read_text().replace("\0", " ") for child in found]


@pytest.fixture
def folder() -> Iterator[Path]:
    """With a short name, unlike `tmp_path`: Lava's shared memory has its socket there, whose path is limited."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture
def nothing_stays(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No job, not even as a zombie, and no file."""
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    yield
    if Path("/proc/self").exists():
        assert [name for name in children() if not name or "lava_backend.jobs" in name] == []
    assert list(folder.iterdir()) == []


@pytest.mark.usefixtures("nothing_stays")
def test_results_stand_in_the_order_of_the_tasks() -> None:
    seen: list[int] = []
    assert run_in_jobs(job_work.add, 10, iter(range(9)), 2, seen.append) == list(range(10, 19))
    assert seen == list(range(1, 10))


@pytest.mark.usefixtures("nothing_stays")
def test_a_job_for_each_task_and_no_more_than_allowed() -> None:
    by_job = run_in_jobs(job_work.process_folder_and_session, None, range(7), 2)
    assert len(set(by_job)) == 2
    for process, folder, session in by_job:
        assert session == process != os.getpid(), "Ctrl-C of a terminal goes to a session"
        assert not Path(folder).exists()
    assert len(set(run_in_jobs(job_work.process_folder_and_session, None, range(1), 3))) == 1
    assert run_in_jobs(job_work.process_folder_and_session, None, [], 3) == []


@pytest.mark.usefixtures("nothing_stays")
@pytest.mark.parametrize(
    ("error", "raised", "message"),
    [
        (DataError("a.bin: is truncated"), DataError, "^a.bin: is truncated$"),
        (ValueError("odd"), RuntimeError, "^Lava job 2 of 2 failed: ValueError: odd$"),
    ],
)
def test_an_error_in_a_job_stops_the_others(error: Exception, raised: type[Exception], message: str) -> None:
    began = time.monotonic()
    with pytest.raises(raised, match=message) as caught:
        run_in_jobs(job_work.fail, error, range(5), 2)
    assert time.monotonic() - began < 20, "the other job would have slept for a minute"
    assert isinstance(caught.value.__cause__, WorkerError) and "in fail" in str(caught.value.__cause__)


@pytest.mark.usefixtures("nothing_stays")
def test_a_job_that_dies_and_a_task_that_cannot_be_read() -> None:
    with pytest.raises(DecolleHwError, match=r"^Lava job \d of 2 died \(SIGKILL\)"):
        run_in_jobs(job_work.die, None, range(2), 2)

    def broken() -> None:
        raise DataError("b.bin: is truncated")

    with pytest.raises(DataError, match=r"^b\.bin: is truncated$"):
        run_in_jobs(job_work.add, 0, numbers_with(broken, 3), 2)


@pytest.mark.usefixtures("nothing_stays")
def test_a_job_that_cannot_be_started_ends_those_that_were(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        monkeypatch.setattr(sys, "executable", "/nowhere/python")

    with pytest.raises(DecolleHwError, match=r"^Lava job 2 of 2 cannot be started: No such file .*; lower --jobs$"):
        run_in_jobs(job_work.add, 0, numbers_with(refuse, 1), 2)


@pytest.mark.usefixtures("nothing_stays")
def test_a_job_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "GRACE_SECONDS", 0.2)
    began = time.monotonic()
    with pytest.raises(ValueError, match="stop"):
        run_in_jobs(job_work.be_deaf, None, numbers_with(stop_once_deaf, 1), 2)
    assert time.monotonic() - began < 20


def stop_once_deaf() -> None:
    while not list(Path(tempfile.gettempdir()).glob("*/1/deaf")):
        time.sleep(0.02)
    raise ValueError("stop")


@pytest.mark.usefixtures("nothing_stays")
def test_two_jobs_equal_one_run_bit_for_bit() -> None:
    rng = np.random.default_rng(5)
    program = random_program(rng, "decolle", sizes=(20, 12, 8), steps=20, weight_kind="mixed", weight_exp=0)
    tasks = [to_batch(random_spikes(rng, program, count)) for count in (3, 3, 2)]
    reports: list[int] = []
    side_by_side = run_in_jobs(run_batch_in_lava, program, tasks, 2, reports.append)
    (alone,) = (run_batch_in_lava(program, to_batch(np.concatenate([task.dense() for task in tasks])), ignore),)
    for field in ("predictions_B", "readouts_BC", "spikes_BL"):
        joined = np.concatenate([getattr(result, field) for result in side_by_side])
        np.testing.assert_array_equal(joined, getattr(alone, field))
    together = merged([result.comparison for result in side_by_side], 3)
    assert together == alone.comparison and together is not None and together.compared == 8 * 20 * 20
    assert alone.spikes_BL.any() and reports[-1] == 8


def ignore(done: int, total: int) -> None:
    pass


def to_batch(spikes_RTI: np.ndarray) -> Batch:
    recordings, steps, inputs = spikes_RTI.shape
    flat = spikes_RTI.reshape(recordings, -1)
    indptr = np.concatenate([[0], np.cumsum(flat.sum(1, dtype=np.int64))])
    return Batch(indptr, np.nonzero(flat)[1].astype(np.int32), steps, inputs)


# Two jobs with work for hours behind the real entry point, in a session of their own as a terminal would have it.
PROGRAM = """
import click
import numpy as np
from decolle_hw import cli
from decolle_hw.execution import Batch, run_batch_in_lava
from decolle_hw.lava_backend.jobs import run_in_jobs
from decolle_hw.sim.random_program import random_program

@click.command()
def run():
    program = random_program(np.random.default_rng(1), "decolle", sizes=(20, 10, 8), steps=20)
    task = Batch(np.zeros(20_001, np.int64), np.zeros(0, np.int32), 20, 20)
    run_in_jobs(run_batch_in_lava, program, [task] * 10, 2, lambda done: print(done, flush=True))

cli.cli = run
cli.main()
"""
MARK = "DECOLLE_HW_TEST_OF_JOBS"


class Running:
    """A run, the processes that descend from it, its temporary folder and its shared memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.segments: set[Path] = set()
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "TMPDIR": str(folder), MARK: str(folder)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip

    def descendants(self) -> dict[int, str]:
        """Command lines of all its processes that live, by id; they are known by a variable of their environment."""
        mark, found = f"{MARK}={self.folder}".encode(), {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != self.process.pid:
                with suppress(OSError):
                    if mark in (entry / "environ").read_bytes().split(b"\0"):
                        found[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ")[-80:]
        return found

    def jobs(self) -> list[int]:
        """The processes that this one has started itself."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(child) for child in children.split()]

    def wait_for_both(self) -> None:
        """Both jobs have Lava's workers, and one has done a part."""
        assert self.process.stdout is not None
        if not self.process.stdout.readline():
            assert self.process.stderr is not None
            pytest.fail(f"the run ended: {self.process.stderr.read()}")
        deadline = time.monotonic() + SECONDS_TO_START
        while len(self.descendants()) < 2 * OF_A_JOB and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(self.jobs()) == 2 and len(self.descendants()) == 2 * OF_A_JOB
        self.segments = {segment for job in self.jobs() for segment in self.segments_of(job)}
        assert self.segments

    @staticmethod
    def segments_of(job: int) -> set[Path]:
        return {Path(name) for name in re.findall(r"/dev/shm/psm_\w+", Path(f"/proc/{job}/maps").read_text())}

    def ends(self, code: int) -> str:
        """Assert that it ends in time with this exit code, and with nothing left; returns standard error."""
        begin = time.monotonic()
        try:
            _, err = self.process.communicate(timeout=SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            pytest.fail(f"still running after {SECONDS_TO_END} s: {self.descendants()}")
        while (self.descendants() or self.left()) and time.monotonic() < begin + SECONDS_TO_END:
            time.sleep(0.05)
        assert self.process.returncode == code, err
        assert self.descendants() == {}, "processes left behind"
        assert self.left() == []
        return err.lstrip()  # click ends the line of a terminal's ^C

    def left(self) -> list[Path]:
        return [*self.folder.iterdir(), *(segment for segment in self.segments if segment.exists())]


@contextmanager
def running(folder: Path) -> Iterator[Running]:
    run = Running(folder)
    try:
        run.wait_for_both()
        yield run
    finally:
        for process, command in {run.process.pid: "", **run.descendants()}.items():
            if "resource_tracker" not in command:  # they remove shared memory, then they end
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
        run.process.communicate()


@linux
@pytest.mark.parametrize("how", ["ctrl-c", "terminate", "kill", "kill a job"])
def test_nothing_survives(folder: Path, how: str) -> None:
    with running(folder) as run:
        if how == "ctrl-c":
            os.killpg(run.process.pid, signal.SIGINT)
            assert run.ends(130) == "error: interrupted\n"
        elif how == "terminate":
            run.process.terminate()
            assert run.ends(143) == "error: interrupted\n"
        elif how == "kill":
            run.process.kill()
            assert run.ends(-signal.SIGKILL) == ""
        else:
            os.kill(run.jobs()[1], signal.SIGKILL)
            err = run.ends(1)  # Python's resource tracker may also say that it has removed shared memory
            assert re.search(r"^error: Lava job \d of 2 died \(SIGKILL\), perhaps .*$", err, re.MULTILINE), err
