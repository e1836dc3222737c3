"""-v, -q, --json and what ends a command: the same for every command, before its name and after."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from decolle_hw import cli
from decolle_hw.atomic import json_text
from decolle_hw.commands.group import ReportingOption


@pytest.fixture
def probing(decolle_hw, monkeypatch):
    """Call `decolle-hw probe` among the other commands."""
    monkeypatch.setitem(cli.cli.table, "probe", ("probe_command:probe", ""))
    yield decolle_hw
    cli.cli.commands.pop("probe", None)


def commands_below(command: click.Command, name: str):
    yield name, command
    if isinstance(command, click.Group):
        for below in command.commands:
            yield from commands_below(command.commands[below], f"{name} {below}")


def test_every_command_is_there_and_has_the_shared_options():
    context = click.Context(cli.cli)
    for name, (_, line) in cli.cli.table.items():
        assert line.endswith(".") and len(name) + len(line) < 90, name
        for path, command in commands_below(cli.cli.get_command(context, name), name):
            shared = [option.opts for option in command.params if isinstance(option, ReportingOption)]
            assert shared == [["-v", "--verbose"], ["-q", "--quiet"], ["--log-file"]], path
            assert command.help, path


def test_alone_it_says_where_to_start(decolle_hw):
    outcome = decolle_hw()
    assert outcome.code == 0 and outcome.err == ""
    assert "Usage: decolle-hw" in outcome.out and "Where to start: `decolle-hw demo`" in outcome.out
    for code in (0, 1, 2, cli.DEFECT, cli.NO_WRITING, cli.INTERRUPTED):
        assert f"      {code} " in outcome.out or f"    {code} " in outcome.out, code


def test_plain(probing):
    outcome = probing("probe")
    assert outcome.code == 0
    assert outcome.out.splitlines() == ["counting sheep ...", "sleeping ...", "given: ", "echoed"]
    assert outcome.err == "warning: nothing is kept\n"  # that of a library is not for users


def test_quiet_leaves_progress_out(probing):
    for arguments in (["-q", "probe"], ["probe", "--quiet"], ["-q", "probe", "-q"]):
        outcome = probing(*arguments)
        assert outcome.out.splitlines() == ["given: ", "echoed"]
        assert outcome.err == "warning: nothing is kept\n"


@pytest.mark.parametrize("arguments", [["-v", "probe"], ["probe", "--verbose"]])
def test_verbose_adds_versions_times_and_warnings(probing, arguments):
    outcome = probing(*arguments)
    assert outcome.out == probing("probe").out
    for part in ("Python 3.", "numpy ", "torch ", "counting sheep: 0.0", " s\n", "FutureWarning: please use another"):
        assert part in outcome.err, outcome.err
    assert "a detail" not in outcome.err


@pytest.mark.parametrize("arguments", [["-vv", "probe"], ["-v", "probe", "-v"], ["probe", "-vv"]])
def test_twice_verbose_adds_the_details_of_the_library(probing, arguments):
    assert "a detail\n" in probing(*arguments).err


def test_the_next_call_begins_anew(probing):
    probing("-vv", "probe", "--log-file", "/dev/null")
    streams = sys.stdout, sys.stderr
    assert probing("probe").err == "warning: nothing is kept\n"
    assert (sys.stdout, sys.stderr) == streams


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-q", "-v", "probe"], ["--verbose and --quiet exclude each other"]),
        (["-q", "probe", "-v"], ["--verbose and --quiet exclude each other"]),
        (["probe", "-vq"], ["--verbose and --quiet exclude each other"]),
        (["prob"], ["no such command 'prob'", "did you mean 'probe'?"]),
        (["probe", "--jsn", "-"], ["No such option", "--json", "see `decolle-hw probe --help`"]),
        (["probe", "--fail", "ood"], ["'ood' is not one of", "see `decolle-hw probe --help`"]),
        (["probe", "extra"], ["unexpected extra argument", "extra"]),
        (["probe", "--json", "x.net"], ["--json x.net", ".net is for compiled networks"]),
        (["probe", "--json", "."], ["is a folder"]),
        (["probe", "--json", "a", "--log-file", "a"], ["--log-file and --json are the same file"]),
        (["probe", "--log-file", "x.net"], ["--log-file x.net", ".net is for compiled networks"]),
        (["probe", "--log-file", "."], ["--log-file .", "cannot be written"]),
        (["probe", "--log-file"], ["--log-file", "requires an argument"]),
    ],
)
def test_wrong_use_is_one_line(probing, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    outcome = probing(*arguments)
    *_, last = outcome.err.splitlines()
    assert outcome.code == 2 and last.startswith("error: "), outcome.err
    assert "Traceback" not in outcome.err and "echoed" not in outcome.out
    for word in words:
        assert word in last, last


def test_json_alone_on_standard_output(probing):
    outcome = probing("probe", "--json", "-")
    assert json.loads(outcome.out) == {"answer": 42, "unknown": None, "most": [None, 1.5]}
    for line in ("counting sheep ...", "given: --json", "echoed", "warning: nothing is kept"):
        assert line in outcome.err.splitlines()


def test_json_in_a_file(probing, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = probing("probe", "--json", "deep/er/it.json")
    assert outcome.out.endswith("echoed\nwrote deep/er/it.json\n")
    assert json.loads(Path("deep/er/it.json").read_text())["answer"] == 42


def test_json_knows_no_nan():
    content = {"a": float("nan"), "b": (1, float("-inf")), "c": {"d": [0.5, None, True, "x"]}}
    assert json.loads(json_text(content)) == {"a": None, "b": [1, None], "c": {"d": [0.5, None, True, "x"]}}


def test_targets_as_json_for_other_programs(decolle_hw):
    outcome = decolle_hw("-q", "targets", "loihi2", "--json", "-")
    assert json.loads(outcome.out)["loihi2"]["cores_per_chip"]["value"] == 128
    assert "synaptic_memory_bits" in outcome.err


def test_a_defect_of_ours_is_one_line_and_a_code_of_its_own(probing):
    outcome = probing("probe", "--fail", "odd")
    assert outcome.code == 70
    *_, last = outcome.err.splitlines()
    assert last == (
        "internal error: OddError: a tensor of no size; run again with -v for the traceback, and please report it"
    )
    assert "Traceback" not in outcome.err
    outcome = probing("probe", "--fail", "odd", "-v")
    assert outcome.code == 70 and "Traceback" in outcome.err and "probe_command.py" in outcome.err
    assert outcome.err.splitlines()[-1] == "internal error: OddError: a tensor of no size"


@pytest.mark.parametrize(
    ("fail", "code", "line"),
    [
        ("check", 1, "error: they differ"),
        ("disk", 74, "error: somewhere.npz: No space left on device"),
        ("memory", 2, "error: not enough memory (MemoryError: unable to allocate 9 TiB)"),
    ],
)
def test_other_ends(probing, fail, code, line):
    outcome = probing("probe", "--fail", fail)
    assert outcome.code == code and outcome.err.splitlines()[-1].startswith(line)


@pytest.mark.parametrize("arguments", [["--help"], ["targets"]])
def test_a_reader_that_left(arguments):
    """In a process of its own, for what is printed goes nowhere afterwards."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as pipe:
        command = [sys.executable, "-m", "decolle_hw.cli", *arguments]
        done = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (141, "")
