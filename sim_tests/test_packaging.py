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
    # What pip calls, without pip: no isolation and so no network. A wheel of Python files is installed by unpacking.
    build = f"from setuptools import build_meta; build_meta.build_wheel({str(tmp_path)!r})"
    done = subprocess.run([sys.executable, "-c", build], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (built,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    shutil.unpack_archive(built, site, "zip")
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
