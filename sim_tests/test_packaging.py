"""A wheel carries the YAML files, and finds them without the checkout."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_wheel_finds_models_and_targets(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("decolle_hw", "models", "deploy"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "--quiet"]
    # No build isolation: the tests need no network.
    wheel = ["wheel", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(source)]
    subprocess.run([*pip, *wheel], check=True, capture_output=True)
    (built,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    subprocess.run([*pip, "install", "--no-deps", "--target", str(site), str(built)], check=True, capture_output=True)
    code = (
        f"import sys; sys.path.insert(0, {str(site)!r})\n"
        "import decolle_hw\n"
        f"assert decolle_hw.__file__.startswith({str(site)!r}), decolle_hw.__file__\n"
        "from decolle_hw.library import shipped_names\n"
        "from decolle_hw.spec import load_model_spec\n"
        "from decolle_hw.targets import load_target\n"
        "print(shipped_names('models'), load_model_spec('digits').name, load_target('loihi2').name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "'digits'" in done.stdout and "'nmnist'" in done.stdout and done.stdout.endswith("digits loihi2\n")
