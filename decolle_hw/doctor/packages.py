"""The packages that decolle-hw is built on: are they there, new enough, and do they import?"""

from __future__ import annotations

import ctypes.util
import importlib
import os
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from decolle_hw.doctor.finding import Finding, in_words

LAVA_PYTHON = (3, 10)


class Package(NamedTuple):
    """A dependency, as `install_requires` of setup.cfg has it."""

    distribution: str
    module: str
    minimum: str
    below: str | None = None
    use: str = ""


PACKAGES = (
    Package("torch", "torch", "2.3.1", use="training"),
    Package("numpy", "numpy", "1.24.4", use="everything"),
    Package("numba", "numba", "0.59", use="training and the integer reference"),
    Package("tonic", "tonic", "1.6", use="recordings"),
    Package("aedat", "aedat", "2.3", use="recordings in AEDAT 4"),
    Package("h5py", "h5py", "3.10", use="artifacts"),
    Package("nir", "nir", "1.0.8", "2", use="exchange with other tools"),
    Package("matplotlib", "matplotlib", "3.8", use="figures"),
    Package("pillow", "PIL", "9.2", use="animated pictures"),
    Package("pydantic", "pydantic", "2.6", use="descriptions"),
    Package("pyyaml", "yaml", "6", use="descriptions"),
    Package("safetensors", "safetensors", "0.4", use="checkpoints"),
    Package("scikit-learn", "sklearn", "1.5", use="the embedded digits"),
    Package("click", "click", "8.1", use="commands"),
    Package("rich", "rich", "13", use="tables"),
    Package("jinja2", "jinja2", "3.1", use="pages"),
    Package("tensorboard", "tensorboard", "2.14", use="logs of training"),
)


def check_packages() -> Iterator[Finding]:
    for package in PACKAGES:
        finding = examine(package)
        if finding.state == "ok" and package.module in _CLOSER:
            finding = _CLOSER[package.module](finding)
        yield finding


def examine(package: Package) -> Finding:
    """Import it. Whatever that raises is said, not raised: a package built for another NumPy dies of more than
    ImportError."""
    name, wanted = package.distribution, f'"{package.distribution}>={package.minimum}"'
    if package.below is not None:
        wanted = f'"{package.distribution}>={package.minimum},<{package.below}"'
    install = f"python -m pip install {wanted}"
    version = version_of(name)
    try:
        importlib.import_module(package.module)
    except ModuleNotFoundError as error:
        other = (error.name or "").partition(".")[0]
        if other != package.module:
            return Finding(name, "broken", f"{version}, does not import: {in_words(error)}", _install(other))
        return Finding(name, "broken", f"is missing: needed for {package.use}", install)
    except Exception as error:
        found = f"{version or 'unknown version'}, does not import: {in_words(error)}"
        return Finding(name, "broken", found, _mend_import(package, install))
    if version is None:  # imported from a folder, as a checkout on PYTHONPATH is
        return Finding(name, "ok", "version unknown")
    if numbers(version) < numbers(package.minimum):
        return Finding(name, "broken", f"{version}: {package.minimum} or newer is needed", install)
    if package.below is not None and numbers(version) >= numbers(package.below):
        return Finding(name, "broken", f"{version}: below {package.below} is needed", install)
    return Finding(name, "ok", version)


def version_of(distribution: str) -> str | None:
    """None: it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _install(module: str) -> str:
    known = {package.module: package.distribution for package in PACKAGES}
    return f"python -m pip install {known.get(module, module)}"


def numbers(version: str) -> tuple[int, ...]:
    """`2.3.1+cpu` as (2, 3, 1); zeros at the end are left out, so that 6 and 6.0.0 are the same."""
    found = re.match(r"\d+(\.\d+)*", version)
    parts = [int(part) for part in found.group().split(".")] if found else []
    while parts and parts[-1] == 0:
        parts.pop()
    return tuple(parts)


def _mend_import(package: Package, install: str) -> str:
    if package.module == "matplotlib" and "MPLBACKEND" in os.environ:
        return "unset MPLBACKEND"
    return install.replace("install", "install --force-reinstall", 1)


def _numpy(finding: Finding) -> Finding:
    """Lava was built before NumPy 2."""
    if sys.version_info[:2] == LAVA_PYTHON and numbers(finding.found) >= (2,):
        return Finding("numpy", "broken", f"{finding.found}: Lava needs one below 2", 'python -m pip install "numpy<2"')
    return finding


def _torch(finding: Finding) -> Finding:
    """lava-dl has an upper limit."""
    if sys.version_info[:2] == LAVA_PYTHON and numbers(finding.found) >= (2, 4):
        return Finding(
            "torch", "limited", f"{finding.found}: lava-dl was made for one below 2.4",
            'python -m pip install "torch>=2.3.1,<2.4"',
        )  # fmt: skip
    return finding


def _matplotlib(finding: Finding) -> Finding:
    """Figures are only written to files: any backend will do that can be loaded."""
    import matplotlib

    backend = matplotlib.get_backend()
    try:
        importlib.import_module("matplotlib.pyplot")
    except Exception as error:
        return Finding("matplotlib", "broken", f"{finding.found}, backend {backend}: {in_words(error)}",
                       "export MPLBACKEND=agg")  # fmt: skip
    return Finding("matplotlib", "ok", f"{finding.found}, backend {backend}")


_CLOSER = {"numpy": _numpy, "torch": _torch, "matplotlib": _matplotlib}


def check_cuda() -> Iterator[Finding]:
    """Which devices training may run on; the processor is always one of them."""
    try:
        import torch
    except Exception as error:  # has been said of torch itself
        yield Finding("CUDA", "limited", f"not examined: torch does not import ({type(error).__name__})")
        return
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        yield Finding("CUDA", "ok", f"{torch.version.cuda}: {', '.join(names)}")
    elif not _has_nvidia_driver():
        yield Finding("CUDA", "ok", "no NVIDIA driver on this machine; training runs on the processor")
    elif torch.version.cuda is None:
        yield Finding(
            "CUDA", "limited", "there is a driver, but this build of torch is for processors only",
            "python -m pip install --force-reinstall torch==2.3.1",
        )  # fmt: skip
    else:
        yield Finding("CUDA", "limited", f"there is a driver, but torch (CUDA {torch.version.cuda}) finds no device",
                      "nvidia-smi")  # fmt: skip


def _has_nvidia_driver() -> bool:
    return Path("/proc/driver/nvidia/version").exists() or ctypes.util.find_library("cuda") is not None
