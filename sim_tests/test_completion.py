"""What shells are offered at a press of TAB, and how long it takes."""

from __future__ import annotations

import subprocess
import sys

import pytest
from click.shell_completion import ShellComplete

from decolle_hw.cli import cli
from decolle_hw.library import shipped_names


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


def test_nothing_heavy_is_imported():
    """As bash asks for it; in a process of its own, which imports only what completing needs."""
    code = (
        "import os, sys\n"
        "os.environ.update(_DECOLLE_HW_COMPLETE='bash_complete', COMP_WORDS='decolle-hw train dig', COMP_CWORD='2')\n"
        "sys.argv = ['decolle-hw']\n"
        "from decolle_hw.cli import main\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    heavy = {'torch', 'numpy', 'tonic', 'lava', 'pydantic', 'rich', 'yaml'} & sys.modules.keys()\n"
        "    print('imported', sorted(heavy))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "plain,digits\nplain,digits-cuba\nimported []\n"
