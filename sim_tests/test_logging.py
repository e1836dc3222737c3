"""--log-file: what was printed, what the library had to say besides, and how it ended, each line with its time."""

from __future__ import annotations

import logging
import re
import sys
from pathlib import Path

import pytest
from rich.console import Console
from test_options import probing

from decolle_hw.console import Output
from decolle_hw.progress import counting

__all__ = ["probing"]
LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (DEBUG|INFO|WARNING|ERROR) (.*)")


def logged(path: str) -> list[tuple[str, str]]:
    """(level, text) of each line; every one must have its time."""
    return [LINE.fullmatch(line).groups() for line in Path(path).read_text().splitlines()]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_it_has_what_was_printed_and_more(probing):
    outcome = probing("probe", "--log-file", "logs/all.log")
    lines = logged("logs/all.log")
    assert lines[0] == ("INFO", "decolle-hw probe --log-file logs/all.log")
    texts = [text for _, text in lines]
    for line in (*outcome.out.splitlines(), *outcome.err.splitlines()):
        assert texts.count(line.rstrip()) == 1, line
    assert ("DEBUG", "a detail") in lines
    assert ("WARNING", "warning: nothing is kept") in lines
    assert any("FutureWarning: please use another function" in text for text in texts)
    assert any(text.startswith("counting sheep: ") for text in texts)


def test_it_has_tables_and_progress_that_was_not_shown(decolle_hw, probing):
    outcome = decolle_hw("targets", "-q", "--log-file", "a.log")
    texts = [text for _, text in logged("a.log")]
    assert len(outcome.out.splitlines()) > 5
    assert set(map(str.rstrip, outcome.out.splitlines())) <= set(texts)
    assert probing("probe", "-q", "--log-file", "b.log").out == "given: \nechoed\n"
    assert ("INFO", "counting sheep ...") in logged("b.log")


def test_a_second_call_adds_to_it(probing):
    probing("probe", "--log-file", "a.log")
    before = Path("a.log").read_text()
    probing("--log-file", "a.log", "-v", "probe")
    assert Path("a.log").read_text().startswith(before) and len(logged("a.log")) > 1.9 * len(before.splitlines())


def test_it_has_the_traceback_of_a_defect_and_the_reason_of_an_error(probing):
    assert probing("probe", "--fail", "odd", "--log-file", "a.log").code == 70
    text = Path("a.log").read_text()
    assert "ERROR OddError: a tensor of\nno size\nTraceback" in text and "probe_command.py" in text
    assert probing("probe", "--fail", "check", "--log-file", "b.log").code == 1
    assert logged("b.log")[-1] == ("ERROR", "they differ")
    assert probing("probe", "--colour", "--log-file", "c.log").code == 2


def test_a_log_on_a_full_disk_does_not_stop_the_work(probing):
    outcome = probing("probe", "--log-file", "/dev/full")
    assert outcome.code == 0 and "echoed" in outcome.out
    assert outcome.err.count("/dev/full: cannot be written: No space left on device; nothing more is logged") == 1
    assert "Traceback" not in outcome.err


def test_bars_of_a_terminal_leave_no_trace_in_it(capsys):
    records: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record):
            records.append(record.getMessage())

    logger, keep = logging.getLogger("decolle_hw"), Keep()
    level = logger.level
    logger.addHandler(keep)
    logger.setLevel(logging.DEBUG)
    try:
        console = Output(force_terminal=True, file=sys.stdout, width=80)
        with counting(console, "counting sheep") as progress:
            for sheep in range(3):
                progress(sheep, 3)
        console.print("done", style="bold green")
    finally:
        logger.removeHandler(keep)
        logger.setLevel(level)
    assert "\x1b[" in capsys.readouterr().out
    assert records[1:] == ["done"] and re.fullmatch(r"counting sheep: \d+\.\d\d s", records[0])


def test_quiet_has_no_bars_on_a_terminal(capsys):
    console = Output(force_terminal=True, file=sys.stdout, shows_progress=False)
    with counting(console, "counting sheep") as progress:
        progress(1, 3)
    assert capsys.readouterr().out == ""


def test_other_consoles_show_progress_as_before(capsys):
    with counting(Console(), "counting sheep"):
        pass
    assert capsys.readouterr().out == "counting sheep ...\n"
