"""`decolle-hw run --sim --stream`: what is printed and written, and one clear line for every wrong input."""

from __future__ import annotations

import io
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from small_programs import STEPS, make_program
from stream_tools import DELTAT, as_nmnist, as_text, draw_events, saved
from test_cli import fails

from decolle_hw.compiler.artifact import save_artifact
from decolle_hw.data.formats import read_events

RUN = ("run", "--sim", "--backend", "reference", "--stream")


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A folder with a compiled network and one recording."""
    monkeypatch.chdir(tmp_path)
    saved(tmp_path)
    Path("one.bin").write_bytes(as_nmnist(draw_events(1, 900, 80 * DELTAT)))
    return tmp_path


@pytest.fixture
def pipe_in(monkeypatch):
    """What the next command finds on standard input."""

    def put(content: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    return put


def lines_of(path: str) -> list[dict]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


@pytest.mark.parametrize("extra", ["", f", denoise: {2 * DELTAT}"], ids=["all-events", "denoised"])
def test_recordings_one_by_one_are_decided_on_as_run_does(here, decolle_hw, extra):
    """Also where events are out of order in the file, as on the bus, and where noise is dropped."""
    saved(here, extra=extra)
    for number, label in enumerate("abcab"):
        events = draw_events(10 + number, 40 + 90 * number, (STEPS + 3) * DELTAT)
        order = np.argsort(events["t"] + np.random.default_rng(number).integers(0, DELTAT, len(events)), kind="stable")
        file = here / "folder" / label / f"{number}.bin"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(as_nmnist(events[order]))
        assert (np.diff(events[order]["t"]) < 0).any()
    outcome = decolle_hw(
        "run", "--sim", "--backend", "reference", "--data", "folder", "--json", "run.json", "--csv", "run.csv"
    )
    assert outcome.code == 0, outcome.err
    rows = [line.split(",") for line in Path("run.csv").read_text().splitlines()[1:]]
    assert len(rows) == 5
    for name, _, prediction, _, *readouts in rows:
        outcome = decolle_hw(*RUN, f"folder/{name}", "--reset-every", str(STEPS), "--json", "one.json")
        assert outcome.code == 0, outcome.err
        first = lines_of("one.json")[0]
        assert (first["recording"], first["class"]) == (0, prediction)
        assert first["readouts"] == [int(number) for number in readouts]
        assert ("were dropped as noise" in outcome.out) == bool(extra)


def test_a_pipe_says_the_same_as_the_file(here, decolle_hw, pipe_in):
    found = {}
    assert decolle_hw(*RUN, "one.bin", "--json", "file.json").code == 0
    for name, content in (
        ("nmnist", Path("one.bin").read_bytes()),
        ("text", ("x y t p\n# of a camera\n" + as_text(read_events(Path("one.bin")).events)).encode()),
    ):
        pipe_in(content)
        outcome = decolle_hw(*RUN, "-", "--stream-format", name, "--json", f"{name}.json", "--reset-every", str(STEPS))
        assert outcome.code == 0, outcome.err
        found[name] = [line for line in lines_of(f"{name}.json") if "summary" not in line]
    assert decolle_hw(*RUN, "one.bin", "--reset-every", str(STEPS), "--json", "cut.json").code == 0
    assert found["nmnist"] == [line for line in lines_of("cut.json") if "summary" not in line]
    assert len(found["text"]) in (4, 5)  # time begins at its first event
    (summary,) = (line["summary"] for line in lines_of("file.json") if "summary" in line)
    assert (summary["events"], summary["steps"], summary["events_late"]) == (900, 80, 0)
    assert summary["latency_steps"] == 3 and summary["window_steps"] == STEPS - 3


def test_lines_for_people_and_for_programs(here, decolle_hw):
    outcome = decolle_hw(*RUN, "one.bin", "--every", "20")
    assert outcome.code == 0, outcome.err
    told = [line.split() for line in outcome.out.splitlines() if " s  step " in line]
    assert [(line[0], line[3]) for line in told] == [(f"0.0{n}0000", str(10 * n - 1)) for n in (2, 4, 6, 8)]
    assert "real-time factor" in outcome.out and "3 steps, 3 ms" in outcome.out
    outcome = decolle_hw(*RUN, "one.bin", "--every", "20", "--json", "-")
    assert outcome.code == 0 and "real-time factor" in outcome.err
    lines = [json.loads(line) for line in outcome.out.splitlines()]
    assert [line["step"] for line in lines[:-1]] == [19, 39, 59, 79] and "summary" in lines[-1]
    for line, (*_, name, _, margin) in zip(lines, told, strict=False):
        assert (line["class"], line["margin"], line["time_us"]) == (name, int(margin), 1000 * (line["step"] + 1))


def test_what_was_not_used_is_said(here, decolle_hw, pipe_in):
    events = draw_events(3, 400, 40 * DELTAT)
    events["t"][200] -= 9 * DELTAT
    events["t"][300:] += 3_600_000_000
    pipe_in(as_text(events).encode())
    outcome = decolle_hw(*RUN, "-", "--stream-format", "text", "--max-gap", "60000")
    assert outcome.code == 0, outcome.err
    assert "1 of 400 events came when their step was over" in outcome.out and "raise --tolerance" in outcome.out
    assert "the clock jumped ahead by 3,600.0 s: shortened to the longest gap (--max-gap)" in outcome.out


def test_a_network_from_elsewhere_needs_the_length_of_a_step(here, decolle_hw):
    save_artifact(make_program("dense", "decolle"), here / "other.net")
    fails(decolle_hw(RUN[0], "other.net", *RUN[1:], "one.bin"), "dense-decolle", "comes from elsewhere", "--deltat")
    outcome = decolle_hw(RUN[0], "other.net", *RUN[1:], "one.bin", "--deltat", "2000", "--json", "other.json")
    assert outcome.code == 0, outcome.err
    assert lines_of("other.json")[-1]["summary"]["steps"] == 40
    fails(decolle_hw(RUN[0], "small.net", *RUN[1:], "one.bin", "--deltat", "2000"), "--deltat 2000", "leave --deltat")
    wide = replace(make_program("dense", "decolle"), input_shape=(6, 6, 2))
    save_artifact(wide, here / "wide.net")
    fails(decolle_hw(RUN[0], "wide.net", *RUN[1:], "one.bin", "--deltat", "1"), "6x6x2", "one or two polarities")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none.bin"], ["none.bin", "does not exist"]),
        (["."], ["is a folder", "--data"]),
        (["small.net"], ["small.net", "events"]),
        (["-"], ["standard input does not say what it holds", "--stream-format", "text", "nmnist"]),
        (["-", "--stream-format", "txet"], ["'txet'", "did you mean 'text'"]),
        (["-", "--stream-format", "text"], ["standard input", "no events came"]),
        (["-", "--stream-format", "text", "--realtime"], ["--realtime", "files"]),
        (["one.bin", "--stream-format", "npy"], ["'npy'", "cannot be read as a stream", "nmnist"]),
        (["one.bin", "--learn"], ["--learn", "leave out with --stream"]),
        (["one.bin", "--data", "x", "--samples", "3"], ["--data, --samples", "leave out with --stream"]),
        (["one.bin", "--csv", "x.csv"], ["--csv", "leave out with --stream"]),
        (["one.bin", "--save-state", "x.npz"], ["--save-state", "leave out with --stream"]),
        (["one.bin", "--reset-every", "3"], ["--reset-every 3", "at least 4"]),
        (["one.bin", "--reset-every", "18", "--window", "5"], ["--window", "--reset-every"]),
        (["one.bin", "--reset-every", "18", "--every", "5"], ["--every", "--reset-every"]),
        (["one.bin", "--max-gap", "10"], ["--max-gap 10", "tolerance"]),
        (["one.bin", "--hw"], ["--sim and --hw"]),
        (["one.bin", "--live", "50000"], ["--live", "one.bin is a file", "--realtime"]),
        (["one.bin", "--live", "50000", "--realtime"], ["--live", "leave one"]),
        (["one.bin", "--json", "nowhere.net"], ["--json nowhere.net", ".net"]),
        (["one.bin", "--json", "./one.bin"], ["--json one.bin", "same file"]),
    ],
)
def test_wrong_inputs(here, decolle_hw, pipe_in, arguments, words):
    pipe_in(b"")
    fails(decolle_hw(*RUN, *arguments), *words)


def test_options_of_a_stream_without_one(here, decolle_hw):
    fails(decolle_hw("run", "--sim", "--window", "5", "--realtime"), "--realtime, --window", "add --stream")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1,1,10,1\n6,1,20,1\n", ["x=6", "t=20", "outside of the sensor of 6x6"]),
        ("1,1,10,1\n1,1,2.5,1\n", ["line 2", "'2.5'", "no whole number"]),
        ("1,1,10\n", ["line 1", "has 3 values"]),
        ("1,1,10,7\n", ["polarities", "7"]),
        ("1,1,10,1\n1,1,-10,1\n", ["negative time -10 us"]),
        ("1" * 5000, ["line 1", "longer than"]),
        ("x,y,t,p\n", ["no events came"]),
    ],
)
def test_text_that_is_no_event(here, decolle_hw, pipe_in, text, words):
    pipe_in(text.encode())
    fails(decolle_hw(*RUN, "-", "--stream-format", "text"), *words)


def test_what_is_made_on_whole_recordings_is_refused(here, decolle_hw):
    saved(here, extra=", transforms: [{RefractoryPeriod: {delta: 10}}]")
    fails(decolle_hw(*RUN, "one.bin"), "dataset.transforms RefractoryPeriod", "--data FOLDER")


def test_a_truncated_stream_tells_what_came_before(here, decolle_hw):
    Path("cut.bin").write_bytes(Path("one.bin").read_bytes()[:-2])
    outcome = decolle_hw(*RUN, "cut.bin", "--json", "cut.json")
    assert outcome.code == 2 and "cut.bin" in outcome.err and "truncated" in outcome.err
    assert "real-time factor" in outcome.out and lines_of("cut.json")[-1]["summary"]["events"] == 899


class Live(io.RawIOBase):
    """A pipe that is still open: Ctrl-C comes while the command waits for more."""

    def __init__(self, content: bytes, found: list[str]) -> None:
        self.content, self.found = content, found

    def read1(self, size: int) -> bytes:
        content, self.content = self.content, b""
        if not content:
            self.found.append(Path("live.json").read_text())
            raise KeyboardInterrupt
        return content


def test_decisions_come_while_events_do_and_ctrl_c_ends_with_the_summary(here, decolle_hw, monkeypatch):
    """A line is out before the next event is in."""
    found: list[str] = []
    content = "".join(f"1,1,{millisecond * 1000},1\n" for millisecond in range(12)).encode()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=Live(content, found), isatty=lambda: False))
    outcome = decolle_hw(*RUN, "-", "--stream-format", "text", "--every", "10", "--json", "live.json")
    assert [json.loads(line)["step"] for line in found[0].splitlines()] == [9]
    assert outcome.code == 130 and outcome.err.rstrip().endswith("error: interrupted")
    assert "real-time factor" in outcome.out and "Traceback" not in outcome.err
    assert lines_of("live.json")[-1]["summary"]["steps"] == 10


def test_a_replay_at_its_own_pace_waits_for_its_clock(here, decolle_hw):
    began = time.monotonic()
    outcome = decolle_hw(*RUN, "one.bin", "--realtime", "--json", "paced.json")
    assert outcome.code == 0 and time.monotonic() - began >= 0.079, outcome.err
    assert lines_of("paced.json")[-1]["summary"]["seconds_behind"] >= 0 and "behind its own pace" in outcome.out


def test_a_terminal_sends_no_events(here, decolle_hw, monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    fails(decolle_hw(*RUN, "-", "--stream-format", "text"), "standard input", "is a terminal")
