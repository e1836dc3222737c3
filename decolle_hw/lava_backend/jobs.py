"""Several processes side by side that each run Lava on their own.

A Lava run keeps its workers in lockstep and uses little more than one core; independent recordings can go to
independent runs. Each job is a Python of its own, not a fork of this one, whose threads may hold locks, and has a
session of its own, so that a terminal's Ctrl-C reaches this process alone. A job ends when this process says so, and
when this process is gone; what a job has started ends with it (`supervision`).

Lava executes this file a second time under its bare name when it looks for process models: keep it free of effects.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import Pipe, connection
from pathlib import Path
from typing import Any

from decolle_hw.errors import DecolleHwError
from decolle_hw.lava_backend.lifetime import STOPPING, WorkerError, end_with_parent, interrupts_later

Work = Callable[[Any, Any, Callable[[int, int], None]], Any]

POLL_SECONDS = 0.2  # how often a waiting parent looks whether its jobs live; an answer wakes it at once
GRACE_SECONDS = 3.0  # for a job to end its Lava run and to remove its files
LAST_RESORT_SECONDS = 10  # after which the kernel ends a job that was told to end
ENDED = 128 + signal.SIGTERM

START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); from decolle_hw.lava_backend.jobs import main; main()"
)


def run_in_jobs(
    work: Work, shared: Any, tasks: Iterable[Any], jobs: int, progress: Callable[[int], None] | None = None
) -> list[Any]:
    """``[work(shared, task, report) for task in tasks]`` in at most `jobs` processes; results in the order of tasks.

    Args:
        work: a function of a module (jobs import it); it calls ``report(done, total)`` as it goes on.
        shared: handed to every job once.
        tasks: taken one by one when a job is free, so that one for each job is in memory.
        jobs: processes; fewer are started for fewer tasks.
        progress: called with the sum of what the tasks have last reported as done.

    When anything is raised, here or in a job, all jobs end, and all that they have started.

    Raises:
        DecolleHwError: of a job, as it was raised there; or a job died.
        RuntimeError: anything else was raised in a job.
    """
    with _crew(work, shared, jobs, progress) as crew:
        for number, task in enumerate(tasks):
            crew.idle_job().give(number, task)
        while crew.busy():
            crew.listen()
        return [crew.results[number] for number in range(len(crew.results))]


class _Job:
    """A process, the pipe to it, and the task that it has."""

    def __init__(self, number: int, jobs: int, folder: Path) -> None:
        self.title = f"Lava job {number} of {jobs}"
        self.task: int | None = None
        own_folder = folder / str(number)
        own_folder.mkdir(parents=True)
        self.pipe, theirs = Pipe()
        with theirs:
            orders = (theirs.fileno(), os.getpid(), own_folder)  # see `main`
            try:
                self.process = subprocess.Popen(
                    [sys.executable, "-c", START, json.dumps(sys.path), *map(str, orders)],
                    env={**os.environ, "TMPDIR": str(own_folder)},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                )
            except OSError as error:
                raise DecolleHwError(f"{self.title} cannot be started: {error.strerror}; lower --jobs") from None

    def give(self, number: int, task: Any) -> None:
        self.task = number
        self.send(task)

    def send(self, content: Any) -> None:
        try:
            self.pipe.send(content)
        except OSError:
            raise self.death() from None

    def death(self) -> DecolleHwError:
        """Says how it died, where that can be found out."""
        try:
            code = self.process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            return DecolleHwError(f"{self.title} stopped answering")
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return DecolleHwError(f"{self.title} died ({how}), perhaps for want of memory; lower --jobs or --batch")


class _Crew:
    """All jobs of a run."""

    def __init__(
        self, work: Work, shared: Any, limit: int, progress: Callable[[int], None] | None, folder: Path
    ) -> None:
        self.work, self.shared, self.limit, self.progress, self.folder = work, shared, limit, progress, folder
        self.jobs: list[_Job] = []
        self.results: dict[int, Any] = {}  # by the number of the task
        self.done: dict[int, int] = {}  # what each task has last reported

    def busy(self) -> list[_Job]:
        return [job for job in self.jobs if job.task is not None]

    def idle_job(self) -> _Job:
        """One that has nothing to do: a new one, or the first that becomes free."""
        if len(self.jobs) < self.limit:
            with interrupts_later():  # so that none is started and then forgotten; and they begin deaf, see `main`
                job = _Job(len(self.jobs) + 1, self.limit, self.folder)
                self.jobs.append(job)
            job.send((self.work, self.shared))
            return job
        while True:
            for job in self.jobs:
                if job.task is None:
                    return job
            self.listen()

    def listen(self) -> None:
        """Wait until a job says something, and take it down; returns after `POLL_SECONDS` at the latest."""
        busy = {job.pipe: job for job in self.busy()}
        ready = connection.wait(list(busy), POLL_SECONDS)
        for pipe in ready:
            job = busy[pipe]  # type: ignore[index]  # wait returns what it was given
            assert job.task is not None, "a job without a task is silent"
            try:
                kind, content = job.pipe.recv()
            except (EOFError, OSError):
                raise job.death() from None
            if kind == "failed":
                raise _failure(job.title, *content)
            if kind == "done":
                self.results[job.task], job.task = content, None
            else:
                self.done[job.task] = content
                if self.progress is not None:
                    self.progress(sum(self.done.values()))
        if not ready:
            for job in busy.values():
                if job.process.poll() is not None and not job.pipe.poll():
                    raise job.death()

    def end(self, at_once: bool) -> None:
        """No job and nothing of theirs is left; a Ctrl-C meanwhile waits."""
        with interrupts_later():
            for job in self.jobs:
                job.pipe.close()  # an idle job ends by that
                if at_once:
                    job.process.terminate()
            deadline = time.monotonic() + GRACE_SECONDS
            for job in self.jobs:
                try:
                    job.process.wait(max(0.0, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    job.process.kill()
                    job.process.wait()
            shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def _crew(work: Work, shared: Any, jobs: int, progress: Callable[[int], None] | None) -> Iterator[_Crew]:
    # A short name: Lava's shared memory has its socket in there, and a socket's path has a hundred characters at most.
    crew = _Crew(work, shared, jobs, progress, Path(tempfile.mkdtemp(prefix="decolle-")))
    try:
        yield crew
    except BaseException:
        try:
            crew.end(at_once=True)
        except KeyboardInterrupt:  # in the instant before `end` holds it back
            crew.end(at_once=True)
            raise
        raise
    crew.end(at_once=False)


def _failure(title: str, kind: type[Exception], message: str, trace: str) -> Exception:
    failure: Exception
    if issubclass(kind, DecolleHwError):
        failure = kind(message)
    else:
        failure = RuntimeError(f"{title} failed: {kind.__name__}: {message}")
    failure.__cause__ = WorkerError(f"\n{trace}")
    return failure


class _Ended(KeyboardInterrupt):
    """SIGTERM in a job: the parent wants its end, or has ended itself."""


def main() -> None:
    """What a job does. It is started with the stopping signals blocked, so that none comes before its handler."""
    pipe, parent, folder = connection.Connection(int(sys.argv[1])), int(sys.argv[2]), Path(sys.argv[3])
    job = os.getpid()
    # Lava's workers must not hold the pipe open when this process is gone.
    os.register_at_fork(after_in_child=pipe.close)

    def ended(*_: object) -> None:
        if os.getpid() != job:
            os._exit(ENDED)  # a worker of Lava, forked with this handler: nothing of ours to clean up
        signal.alarm(LAST_RESORT_SECONDS)  # Python ignores what is raised in the midst of a destructor
        raise _Ended

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, ended)
    code = ENDED
    try:
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
            end_with_parent(parent, signal.SIGTERM)
            _work_off(pipe)
            code = 0
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
    except (_Ended, BrokenPipeError, ConnectionResetError):  # the last two come first when the parent is killed
        pass
    # The parent would do this too, if it lives. What there is of other jobs stays.
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        folder.parent.rmdir()
    sys.exit(code)


def _work_off(pipe: connection.Connection) -> None:
    """One task after the other, until the parent closes the pipe."""
    with contextlib.suppress(EOFError):
        work, shared = pipe.recv()
        while True:
            task = pipe.recv()
            try:
                answer = ("done", work(shared, task, lambda done, total: pipe.send(("progress", done))))
            except Exception as error:
                answer = ("failed", (type(error), str(error), traceback.format_exc()))
            pipe.send(answer)
