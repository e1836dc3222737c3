"""A silent camera: time goes on by our clock where that is asked for, and by the events alone where it is not."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from stream_tools import DELTAT, as_text, described, draw_events, saved
from test_stream_steps import make_binning

from decolle_hw.data.formats import EVENTS, event_blocks
from decolle_hw.errors import DataError
from decolle_hw.streaming.aim import stream_dataset
from decolle_hw.streaming.patience import blocks_or_silence
from decolle_hw.streaming.session import StreamSession, StreamSettings
from decolle_hw.streaming.source import Opened


def one_at(*times_us: int) -> np.ndarray:
    events = np.zeros(len(times_us), EVENTS)
    events["t"] = times_us
    return events


def session_of(live: int | None, clock: Callable[[], float], blocks: Iterator, **settings: object) -> tuple:
    program = described("dense", "decolle")
    chosen = StreamSettings(backend="reference", every=1, live=live, **settings)  # type: ignore[arg-type]
    session = StreamSession(program, stream_dataset(program, None), chosen, clock)
    return session, session.run(Opened("the camera", "nmnist", blocks))


@pytest.mark.parametrize("live", [5 * DELTAT, None])
def test_steps_end_by_the_clock_when_nothing_comes(live: int | None) -> None:
    """Events up to 8 ms, then silence: 30 ms later, less 5 of patience and 1 of tolerance, steps 0..31 are over."""
    now, decided = [0.0], []

    def blocks() -> Iterator[np.ndarray | None]:
        yield one_at(*range(0, 8 * DELTAT + 1, DELTAT))
        for now[0] in (0.004, 0.010, 0.030):
            yield None
            decided.append(None if session.last is None else session.last.step)
        yield one_at(29 * DELTAT, 26 * DELTAT, 5 * DELTAT)  # the second and third are of steps that the clock ended

    session, decisions = session_of(live, lambda: now[0], blocks())
    told = [decision.step for decision in decisions]
    counts = session.summary().counts
    if live is None:
        assert decided == [6, 6, 6] and told == list(range(3, 30)) and counts.late == 2
        return
    assert decided == [6, 11, 31]
    assert told == list(range(3, 34)) and (counts.late, counts.largest_delay_us) == (3, 28 * DELTAT)


def test_a_silence_of_hours_is_no_jump_of_the_clock() -> None:
    binning = make_binning(max_gap=20 * DELTAT)
    steps = [len(piece.frames_KI) for piece in binning.add(one_at(0, 3 * DELTAT))]
    for until in range(10, 200, 10):
        steps += [len(piece.frames_KI) for piece in binning.pass_time(until * DELTAT)]
    assert sum(steps) == 189
    steps += [len(piece.frames_KI) for piece in binning.pass_time(100 * DELTAT)]  # clocks do not go back
    steps += [len(piece.frames_KI) for piece in binning.add(one_at(200 * DELTAT))]
    assert sum(steps) == 199 and (binning.counts.jumps, binning.counts.late) == (0, 0)


def test_before_the_first_event_there_is_no_time() -> None:
    now = iter(np.arange(0.0, 100.0, 0.5))
    session, decisions = session_of(0, lambda: float(next(now)), iter([None, None]))
    with pytest.raises(DataError, match="the camera: no events came"):
        list(decisions)
    assert session.summary().steps == 0


def as_events(pipe: BinaryIO) -> Iterator[np.ndarray]:
    return event_blocks(pipe, "text")


def test_a_pipe_is_waited_for_and_told_of() -> None:
    """What is written comes whole and in order; before, word that nothing came."""
    read, write = os.pipe()
    events = draw_events(1, 400, 50 * DELTAT)
    with os.fdopen(read, "rb") as stream:
        blocks = blocks_or_silence(stream, as_events, 0.005)
        assert next(blocks) is None
        os.write(write, as_text(events).encode())
        os.close(write)
        np.testing.assert_array_equal(np.concatenate([block for block in blocks if block is not None]), events)


def test_what_is_wrong_with_a_pipe_is_said_where_its_events_are_taken() -> None:
    read, write = os.pipe()
    os.write(write, b"1,1,7\n")
    os.close(write)
    with os.fdopen(read, "rb") as stream, pytest.raises(DataError, match="has 3 values"):
        list(blocks_or_silence(stream, as_events))


def test_a_camera_that_falls_silent_on_a_named_pipe(tmp_path, monkeypatch, decolle_hw) -> None:
    """Its last steps are decided on while the pipe is open and nothing comes."""
    monkeypatch.chdir(tmp_path)
    saved(tmp_path)
    os.mkfifo("camera")
    events = one_at(*range(0, 10 * DELTAT, DELTAT))
    seen = threading.Event()

    def camera() -> None:
        with open("camera", "w") as pipe:
            pipe.write(as_text(events))
            pipe.flush()
            for _ in range(2000):
                if Path("told.json").exists() and '"step": 29' in Path("told.json").read_text():
                    seen.set()
                    return
                seen.wait(0.005)

    writer = threading.Thread(target=camera)
    writer.start()
    outcome = decolle_hw(
        "run", "--sim", "--backend", "reference", "--stream", "camera", "--stream-format", "text", "--live", "20000",
        "--every", "10", "--json", "told.json",
    )  # fmt: skip
    writer.join()
    assert outcome.code == 0, outcome.err
    assert seen.is_set()
