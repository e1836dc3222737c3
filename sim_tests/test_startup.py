"""What is imported when: nothing that takes its time where only words are asked for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from decolle_hw import cli

SLOW = ["torch", "numpy", "lava", "tonic", "matplotlib", "numba", "rich", "scipy", "h5py", "pydantic", "tensorboard"]
# One process for all: what a step imports stays, so the steps go from the lightest to the heaviest.
CODE = """
import contextlib, io, json, sys
slow, steps = json.loads(sys.argv[1]), json.loads(sys.argv[2])
found = {}
for step in steps:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        if step == "import":
            import decolle_hw
        else:
            from decolle_hw.cli import cli
            cli.main(step.split(), standalone_mode=False)
    found[step] = [sorted(set(slow) & set(sys.modules)), len(out.getvalue())]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def imported(tmp_path_factory) -> dict[str, tuple[list[str], int]]:
    """By step: which slow packages were imported by then, how much was printed."""
    folder = tmp_path_factory.mktemp("startup")
    (folder / "runs").mkdir()
    steps = ["import", "--version", "--help", *(f"{name} --help" for name in sorted(cli.cli.table)), "targets", "runs"]
    done = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps(SLOW), json.dumps(steps)],
        capture_output=True, text=True, cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(cli.__file__).parents[1]), *sys.path])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("step", ["import", "--version", "--help"])
def test_words_need_none_of_them(imported, step):
    modules, printed = imported[step]
    assert modules == []
    assert (printed > 0) == (step != "import")


@pytest.mark.parametrize("name", sorted(cli.cli.table))
def test_help_of_a_command_needs_none_of_them(imported, name):
    modules, printed = imported[f"{name} --help"]
    assert modules == [] and printed > 200


@pytest.mark.parametrize("step", ["targets", "runs"])
def test_lists_need_no_torch(imported, step):
    modules, printed = imported[step]
    assert not {"torch", "numba", "lava", "tonic", "matplotlib", "scipy"} & set(modules) and printed > 20
