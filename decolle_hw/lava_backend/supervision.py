"""A Lava runtime that always ends: by Ctrl-C, by an exception in a worker, and by the death of one.

Lava runs every process, and a service that keeps them in step, in a worker of its own, and talks to the workers
through shared memory without any timeout. A worker that is gone therefore stops its neighbours, the run, and even
`stop()` for ever (github.com/lava-nc/lava/issues/231), and as a terminal sends Ctrl-C to the workers too, nothing
that was interrupted ever ended. Here a run watches its workers, Ctrl-C reaches the parent alone, and the end of a
run, good or bad, waits for nobody's answer. Where the parent is killed outright, on Linux the kernel ends the workers,
and Python's resource tracker, which outlives them, removes their shared memory.

Lava executes this file a second time under its bare name when it looks for process models: keep it free of effects.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import queue
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker
from typing import Any, TypeVar

from lava.magma.core.process.message_interface_enum import ActorType
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.run_configs import RunConfig
from lava.magma.runtime.mgmt_token_enums import MGMT_RESPONSE, enum_equal
from lava.magma.runtime.runtime import Runtime

from decolle_hw.errors import DecolleHwError
from decolle_hw.lava_backend.lifetime import WorkerError, forks_end_with_this_process, interrupts_later
from decolle_hw.lava_backend.model_search import models_found_once

POLL_SECONDS = 0.2  # how often a waiting parent looks at its workers; an answer wakes it at once
GRACE_SECONDS = 1.0  # a failing worker reports before it tells why

Answer = TypeVar("Answer")


@contextlib.contextmanager
def supervised(process: AbstractProcess, config: RunConfig) -> Iterator[SupervisedRuntime]:
    """Compile the network that `process` belongs to and start its workers; they end with the block."""
    with models_found_once():
        executable = process.compile(config)
    runtime = SupervisedRuntime(executable, ActorType.MultiProcessing)
    executable.assign_runtime_to_all_processes(runtime)
    try:
        runtime.initialize()
        yield runtime
    finally:
        try:
            runtime.stop()
        except KeyboardInterrupt:  # in the instant before `stop` holds it back
            runtime.stop()
            raise


class SupervisedRuntime(Runtime):
    """Lava's runtime, with `DecolleHwError` in place of a wait without end.

    It overrides the three places at which the parent waits for workers: until they are built, until they have
    stepped, and until they have stopped.
    """

    def initialize(self, node_cfg_idx: int = 0) -> None:
        """Start the workers, deaf to Ctrl-C and SIGTERM and bound to the life of this process.

        They inherit the blocked signals. One during the start is not lost: it waits until the last worker is forked.
        """
        # Lava's first shared memory would start Python's tracker, which unblocks the signals.
        resource_tracker.ensure_running()
        with contextlib.ExitStack() as self._forking:
            self._forking.enter_context(interrupts_later())
            self._forking.enter_context(forks_end_with_this_process())
            try:
                super().initialize(node_cfg_idx)
            except EOFError:  # its server, which says more on standard error, has ended instead of telling its address
                raise DecolleHwError(
                    "Lava's shared memory could not be started; if the name of the folder for temporary files "
                    f"({tempfile.gettempdir()}) is long, set TMPDIR to a shorter one"
                ) from None

    def _start_ports(self) -> None:
        """Called by Lava when all workers are forked, just before it waits until they are built."""
        super()._start_ports()
        self._forking.close()
        for worker in self.exception_q:
            if self._watch(worker.get) is not None:
                raise self._failure()
        self.exception_q: list[Any] = []  # Lava would wait on each without a timeout

    def _get_resp_for_run(self) -> None:
        """Wait until the workers have made the steps they were told to make."""
        for port in self.service_to_runtime:
            # Peek: taking a token out is the port's own business, waiting for it with a timeout it does not offer.
            self._watch(lambda timeout, port=port: port._queue.get(timeout=timeout, peek=True))
            if not enum_equal(port.recv(), MGMT_RESPONSE.DONE):
                raise self._failure()
        self._is_running = False

    def stop(self) -> None:
        """End the workers and give back their shared memory; may be called at any time, and again.

        Nothing of a worker is needed any more, as its tape lies in pages that outlive it: so no polite stop, whose
        answer may never come. A Ctrl-C meanwhile waits: this takes milliseconds, and half done it leaves orphans.
        """
        with interrupts_later():
            self._is_started = self._is_running = False  # or else __del__ stops again
            if self._messaging_infrastructure is None:
                return
            workers = self._messaging_infrastructure.actors
            for worker in workers:
                worker.kill()
            for worker in workers:
                multiprocessing.Process.join(worker)  # Lava's own `join` may stumble over what the worker last said
            workers.clear()
            self.join()  # ends the threads behind the ports of this process
            if self._messaging_infrastructure.smm is not None:
                _release(self._messaging_infrastructure.smm)

    def _watch(self, get: Callable[..., Answer]) -> Answer:
        """What `get(timeout=...)` of a queue returns, as long as all workers live."""
        while True:
            try:
                return get(timeout=POLL_SECONDS)
            except queue.Empty:
                if not all(worker.is_alive() for worker in self._messaging_infrastructure.actors):
                    raise self._failure() from None

    def _failure(self) -> DecolleHwError:
        """Which worker failed, and why, where that can be found out."""
        workers = list(zip(self._names(), self._messaging_infrastructure.actors, strict=False))
        deadline = time.monotonic() + GRACE_SECONDS
        while time.monotonic() < deadline:
            for name, worker in workers:
                with contextlib.suppress(Exception):  # an exception that cannot be unpickled
                    if worker.exception is not None:
                        return _raised(name, *worker.exception)
            for name, worker in workers:
                if worker.exitcode:
                    return DecolleHwError(f"Lava stopped: {name} died ({_exit(worker.exitcode)})")
            time.sleep(0.02)
        gone = [name for name, worker in workers if not worker.is_alive()]
        return DecolleHwError(f"Lava stopped: {', '.join(gone) or 'a process'} ended before the run did")

    def _names(self) -> Iterator[str]:
        """Of the workers, in the order in which Lava starts them."""
        for process, builder in self._executable.proc_builders.items():
            yield f"{builder.proc_model.__name__} of {process.name}"
        for builder in self._executable.runtime_service_builders.values():
            yield builder.rs_class.__name__


def _release(memory: Any) -> None:
    """End the manager of Lava's shared memory, and remove what it leaves behind if it was killed; also called again."""
    manager = memory._manager
    if manager is None or not hasattr(manager, "shutdown"):  # released before, or never started
        return
    segments, server = list(memory._shared_memory_handles), manager._process
    with contextlib.suppress(ConnectionError, EOFError, FileNotFoundError):  # it is dead
        memory.shutdown()
    server.kill()  # `shutdown` gives up after a second on one that is stuck
    server.join()
    for segment in segments:
        with contextlib.suppress(FileNotFoundError):  # as it should be: the manager has removed it
            segment.unlink()


def _raised(name: str, error: Exception, trace: str) -> DecolleHwError:
    failure = DecolleHwError(f"Lava stopped: {name} raised {type(error).__name__}: {error}")
    failure.__cause__ = WorkerError(f"\n{trace}")
    return failure


def _exit(code: int) -> str:
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"exit code {code}"
