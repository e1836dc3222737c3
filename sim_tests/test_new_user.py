"""Somebody new, in a real terminal: a fresh clone, the README, and a folder of recordings of their own.

Nothing is typed that the README does not show. The one step that is left out is what `make` does first, the
installation of 6 GB: the clone gets a `.venv` with the Python of the tests, and a `decolle-hw` that runs the clone.
"""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from docs_library import SHARED
from docs_rules import ROOT
from docs_runner import blocks_of, lines_of

pexpect = pytest.importorskip("pexpect", reason="test extra: a terminal")
RECORDINGS = SHARED / "dvs128_recordings"
PROMPT = "new-user> "
README = ROOT / "README.md"
# What the README offers to be quicker; each must stand in it as it is.
QUICKER = {
    "decolle-hw train": "decolle-hw train --set training.num_epochs=1",
    "decolle-hw run --sim": "decolle-hw run --sim --samples 2",
}
pytestmark = [
    pytest.mark.skipif(not RECORDINGS.is_dir(), reason=f"no recordings in {RECORDINGS}"),
    pytest.mark.skipif(shutil.which("git") is None, reason="no git"),
]


def section(title: str) -> list[str]:
    """Lines that a section of the README shows to be typed, without their comments."""
    text = README.read_text(encoding="utf-8")
    first = text.count("\n", 0, text.index(f"\n## {title}\n")) + 1
    behind = text.find("\n## ", text.index(f"\n## {title}\n") + 1)
    last = text.count("\n", 0, behind) if behind > 0 else 10**9
    blocks = [block for block in blocks_of(README) if first < block.line < last and block.language == "bash"]
    return [line.split("  #")[0].strip() for block in blocks for _, line in lines_of(block)]


def repository(folder: Path) -> Path:
    """This checkout as it would be committed now, in a repository that may be cloned."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git checkout")
    for name in filter(None, done.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    git = ["git", "-c", "user.name=tests", "-c", "user.email=tests@example.org", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "--no-verify", "-m", "as it is"]):
        subprocess.run([*git, *command], cwd=folder, check=True, capture_output=True)
    return folder


def instead_of_installing(clone: Path) -> None:
    """A .venv with the Python of the tests, whose `decolle-hw` runs the code of the clone."""
    programs = clone / ".venv" / "bin"
    programs.mkdir(parents=True)
    command = programs / "decolle-hw"
    command.write_text(f'#!/bin/sh\nPYTHONPATH="{clone}" exec "{sys.executable}" -m decolle_hw.cli "$@"\n')
    command.chmod(0o755)
    (programs / "activate").write_text(f'export PATH="{programs}:$PATH"\n')
    keep_compiled(clone)


def keep_compiled(clone: Path) -> None:
    """What Numba has compiled of the same sources, which lies beside them: else the test would wait for it a minute."""
    for source in (ROOT / "decolle_hw").rglob("*.py"):
        copy = clone / source.relative_to(ROOT)
        compiled = list((source.parent / "__pycache__").glob(f"{source.stem}.*.nb?"))
        if compiled and copy.is_file() and copy.read_bytes() == source.read_bytes():
            shutil.copystat(source, copy)  # it looks at size and time of the source
            (copy.parent / "__pycache__").mkdir(exist_ok=True)
            for file in compiled:
                shutil.copy(file, copy.parent / "__pycache__")


class Terminal:
    """A shell as a person has it: prompt, colours, progress bars."""

    def __init__(self, folder: Path) -> None:
        environment = os.environ | {"TERM": "xterm", "PS1": PROMPT, "COLUMNS": "120", "OMP_NUM_THREADS": "1"}
        environment.pop("PYTHONPATH", None)
        self.shell = pexpect.spawn(
            "/bin/bash", ["--norc", "--noprofile", "-i"], cwd=str(folder), env=environment, encoding="utf-8",
            dimensions=(50, 160), timeout=300,
        )  # fmt: skip
        self.shell.expect_exact(PROMPT)
        self.typed: list[str] = []

    def type(self, line: str) -> str:
        """What the line prints, up to the next prompt; its exit code must be 0."""
        self.typed.append(line)
        self.shell.sendline(line)
        self.shell.expect_exact(PROMPT)
        printed = self.shell.before
        self.shell.sendline("echo exit=$?")
        self.shell.expect(r"exit=(\d+)\r\n")
        code = self.shell.match[1]
        self.shell.expect_exact(PROMPT)
        assert code == "0", f"{line}: exit code {code}\n{printed[-3000:]}"
        return printed


def test_readme_leads_from_a_folder_to_a_report(tmp_path):
    readme = README.read_text(encoding="utf-8")
    (clone,) = [line for line in section("Two commands") if line.startswith("git clone ")]
    activate = next(line for line in section("Two commands") if line.startswith(". "))
    source = repository(tmp_path / "repository")
    home = tmp_path / "home"
    home.mkdir()
    shutil.copytree(RECORDINGS, home / "recordings", copy_function=shutil.copyfile)

    terminal = Terminal(home)
    terminal.type(clone.replace("URL", str(source)))
    instead_of_installing(home / "decolle-hw")
    terminal.type(activate)
    printed = {}
    for line in section("Your own recordings"):
        shown = QUICKER.get(line, line)
        assert shown in readme, f"{shown!r} does not stand in the README"
        printed[line] = terminal.type(shown.replace("FOLDER", "recordings"))
    assert any("data inspect" in line for line in printed) and any("init" in line for line in printed)

    (report,) = home.glob("*/*.report.html")
    (figures,) = home.glob("*/*.report.json")
    written = json.loads(figures.read_text(encoding="utf-8"))
    text = " ".join(html.unescape(re.sub(r"<[^>]+>", " ", report.read_text(encoding="utf-8"))).split())
    assert written["fits"] is True and f"fits on Oheo Gulch: {len(written['placement']['cores'])} cores" in text
    assert "0 mismatches" in printed["decolle-hw run --sim"]
