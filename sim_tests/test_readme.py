"""The Python of the README runs as it stands, behind the commands that the README shows before it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_python_block_runs(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    command = [sys.executable, "-m", "decolle_hw.cli"]
    for arguments in (["train", "--epochs", "1"], ["compile", "--target", "loihi2"]):
        subprocess.run([*command, *arguments], cwd=tmp_path, check=True, capture_output=True)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    shape, accuracy = re.fullmatch(r"(\(.*\)) ([\d.]+)\n", done.stdout).groups()
    assert shape == "(64, 60, 512)" and float(accuracy) > 0.5
