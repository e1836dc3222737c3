"""Our own installation, and modules that stand in the way of others."""

from __future__ import annotations

import json
import os
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path

from decolle_hw import __version__
from decolle_hw.doctor.finding import Finding, write_problem

PACKAGE = Path(__file__).resolve().parent.parent
CHECKOUT = PACKAGE.parent
IS_CHECKOUT = (CHECKOUT / "setup.cfg").is_file()
INSTALL = f"python -m pip install {f'-e {CHECKOUT}' if IS_CHECKOUT else '--force-reinstall decolle-hw'}"
COMMAND = "decolle-hw"
OF_LAVA = ("tests", "tutorials")  # top-level packages that Lava's wheels install


def check_installation() -> Iterator[Finding]:
    yield _distribution()
    yield _command()
    yield _shipped_files()
    yield _numba_cache()


def _distribution() -> Finding:
    try:
        distribution = metadata.distribution("decolle-hw")
    except metadata.PackageNotFoundError:
        return Finding("decolle-hw", "limited", f"{__version__}, not installed: imported from {CHECKOUT}", INSTALL)
    origin = json.loads(distribution.read_text("direct_url.json") or "{}")
    editable = origin.get("dir_info", {}).get("editable", False)
    kind = "editable" if editable else "installed"
    if distribution.version != __version__:
        return Finding(
            "decolle-hw", "limited", f"{kind} as {distribution.version}, but {PACKAGE} is {__version__}", INSTALL
        )
    installed = Path(str(distribution.locate_file("decolle_hw")))
    if not editable and installed.exists() and installed.resolve() != PACKAGE:
        return Finding("decolle-hw", "limited", f"{installed} is hidden by {PACKAGE}", "unset PYTHONPATH")
    return Finding("decolle-hw", "ok", f"{__version__}, {kind}, {PACKAGE}")


def _command() -> Finding:
    found, scripts = shutil.which(COMMAND), Path(sysconfig.get_path("scripts"))
    if found is None:
        if (scripts / COMMAND).exists():
            return Finding("command", "limited", f"{scripts / COMMAND} is not on PATH",
                           f'export PATH="{scripts}:$PATH"')  # fmt: skip
        return Finding("command", "limited", f"there is no {COMMAND} on PATH; python -m decolle_hw.cli does the same",
                       INSTALL)  # fmt: skip
    if Path(found).parent.resolve() != scripts.resolve():
        return Finding("command", "limited", f"{found} belongs to another Python than {sys.executable}",
                       f'export PATH="{scripts}:$PATH"')  # fmt: skip
    return Finding("command", "ok", found)


def _shipped_files() -> Finding:
    from decolle_hw.library import shipped_names

    names = {kind: shipped_names(kind) for kind in ("models", "deploy")}
    return Finding("models and targets", "ok", "; ".join(f"{kind}: {', '.join(of)}" for kind, of in names.items()))


def _numba_cache() -> Finding:
    """Compiled kernels are kept beside their source, else in the user's own cache; without either Numba gives up."""
    given = os.environ.get("NUMBA_CACHE_DIR")
    folders = [Path(given)] if given else [PACKAGE / "sim" / "__pycache__", _user_cache()]
    for folder in folders:
        if write_problem(folder) is None:
            return Finding("compiled kernels", "ok", f"kept in {folder}")
    return Finding(
        "compiled kernels", "broken", f"cannot be kept in {' or '.join(map(str, folders))}, and Numba asks for a place",
        f"export NUMBA_CACHE_DIR={Path(tempfile.gettempdir()) / 'numba'}",
    )  # fmt: skip


def _user_cache() -> Path:
    """Where Numba's UserWideCacheLocator looks on Linux."""
    general = os.environ.get("XDG_CACHE_HOME")
    try:
        return Path(general) if general else Path.home() / ".cache"
    except RuntimeError:
        return Path("/nonexistent")


def check_shadows() -> Iterator[Finding]:
    """Modules that are not who they seem: old backports before the standard library, Lava's `tests` before yours."""
    library = Path(sysconfig.get_path("stdlib"))
    before = []
    for entry in sys.path:
        folder = Path(entry or ".").resolve()
        if folder == library.resolve():
            break
        if folder.is_dir():
            before.append(folder)
    shadows = [
        path
        for folder in before
        for path in sorted(folder.iterdir())
        if path.name.partition(".")[0] in sys.stdlib_module_names and (path.suffix == ".py" or _is_package(path))
    ]
    if shadows:
        yield Finding(
            "standard library", "broken", f"hidden by {', '.join(map(str, shadows))}; backports such as argparse and "
            "unittest2, which lava-dl brings, must come after it", "unset PYTHONPATH, or move those files away",
        )  # fmt: skip
    else:
        yield Finding("standard library", "ok", "nothing stands before it")
    yield _tests_of_lava()


def _is_package(path: Path) -> bool:
    return path.is_dir() and (path / "__init__.py").exists()


def _tests_of_lava() -> Finding:
    """A folder of the user's without `__init__.py` loses against a package anywhere on the path."""
    installed = [name for name in OF_LAVA if (spec := PathFinder.find_spec(name, [_site()])) and spec.origin]
    hidden = [name for name in installed if Path(name).is_dir() and not _is_package(Path(name))]
    if hidden:
        return Finding(
            "tests, tutorials", "limited", f"Lava's wheels install packages of these names, which hide your "
            f"{', '.join(f'{name}/' for name in hidden)} from import", f"touch {hidden[0]}/__init__.py",
        )  # fmt: skip
    what = f"Lava's wheels installed {', '.join(installed)}; nothing of yours is hidden" if installed else "not there"
    return Finding("tests, tutorials", "ok", what)


def _site() -> str:
    return sysconfig.get_path("purelib")
