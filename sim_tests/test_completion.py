"""What shells are offered at a press of TAB, and how long it takes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from decolle_hw.cli import cli
from decolle_hw.library import shipped_names

ROOT = Path(__file__).resolve().parents[1]


def offered(*words: str) -> list[str]:
    """For the last of `words`, which may be empty."""
    completion = ShellComplete(cli, {}, "decolle-hw", "_DECOLLE_HW_COMPLETE")
    return [item.value for item in completion.get_completions(list(words[:-1]), words[-1])]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for file in ("digits.net", "digits.report.json", "mine.yaml", ".hidden.net", "nets/a.net", "nets/a.txt",
                 "runs/digits/2026-01-01_10-00-00/spec.yaml", "runs/digits/2026-01-02_10-00-00/spec.yaml",
                 "runs/digits/unfinished/other", "elsewhere/m/t/spec.yaml"):  # fmt: skip
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()


NEWEST, OLDER = "runs/digits/2026-01-02_10-00-00", "runs/digits/2026-01-01_10-00-00"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["train", "digits"], ["digits", "digits-cuba"]),
        (["train", "m"], ["mnist", "mine.yaml"]),
        (["demo", "dvs"], ["dvs-gesture-paper"]),
        (["demo", "--model", "dvs"], ["dvs-gesture-paper"]),
        (["models", "nmnist-"], ["nmnist-conv", "nmnist-cuba", "nmnist-paper"]),
        (["compile", "--target", ""], ["loihi1", "loihi2", "mine.yaml"]),
        (["targets", "loihi2"], ["loihi2"]),
        (["evaluate", ""], [NEWEST, OLDER]),
        (["evaluate", "--runs", "elsewhere", ""], ["elsewhere/m/t"]),
        (["train", "--resume", "runs"], [NEWEST, OLDER]),
        (["run", ""], ["digits.net", "nets/a.net"]),
        (["run", "nets/"], ["nets/a.net"]),
        (["run", "nowhere/"], []),
        (["verify", "--against", "d"], ["digits.net"]),
        (["compile", "runs/digits/2026-01-02"], [NEWEST]),
        (["config", "show", "runs"], [NEWEST, OLDER]),
        (["config", ""], ["schema", "show"]),
        (["completion", ""], ["bash", "zsh", "fish"]),
        (["doc"], ["doctor"]),
        (["doctor", "--no"], ["--no-self-test"]),
        (["run", "--backend", "l"], ["lava"]),
    ],
)
def test_what_is_offered(words, expected):
    assert offered(*words) == expected


def test_every_command_and_all_models():
    assert {"train", "compile", "run", "verify", "doctor", "config"} <= set(offered(""))
    assert set(offered("train", "")) == {*shipped_names("models"), "mine.yaml"}


@pytest.mark.parametrize(
    ("shell", "words"),
    [("bash", "complete -o nosort -F"), ("zsh", "compdef"), ("fish", "complete --no-files --command decolle-hw")],
)
def test_scripts(decolle_hw, shell, words):
    found = decolle_hw("completion", shell)
    assert found.code == 0 and words in found.out and "_DECOLLE_HW_COMPLETE" in found.out
    assert found.out.startswith(f"# Completion of decolle-hw for {shell}: ")


def test_another_shell(decolle_hw):
    found = decolle_hw("completion", "tcsh")
    assert found.code == 2 and "tcsh" in found.err and found.err.count("\n") == 1


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash on this machine")
def test_bash_gets_the_names_and_nothing_heavy_is_imported(decolle_hw, tmp_path):
    """What a press of TAB does: the function of the script, which asks the command, in a process of its own."""
    program = tmp_path / "decolle-hw"
    program.write_text(
        f"#!{sys.executable}\n"
        "import sys\n"
        "from decolle_hw.cli import main\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    heavy = {'torch', 'numpy', 'tonic', 'lava', 'pydantic', 'rich', 'yaml'} & sys.modules.keys()\n"
        "    print('imported', sorted(heavy), file=sys.stderr)\n"
    )
    program.chmod(0o755)
    (tmp_path / "script").write_text(decolle_hw("completion", "bash").out)
    pressed = (
        ". ./script; COMP_WORDS=(decolle-hw train digits-c); COMP_CWORD=2; _decolle_hw_completion decolle-hw; "
        'echo "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", pressed], capture_output=True, text=True, cwd=tmp_path,
        env=os.environ | {
            "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])
        },
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "digits-cuba\n", "imported []\n")
