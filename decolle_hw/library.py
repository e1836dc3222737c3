"""Where the YAML files that ship with decolle-hw lie: `models/` and `deploy/`.

In a checkout both folders stand beside the package, in an installed wheel inside it.
"""

from __future__ import annotations

from pathlib import Path

from decolle_hw.errors import SpecError, nearest

_PACKAGE = Path(__file__).resolve().parent


def shipped_folder(kind: str) -> Path:
    """The folder of shipped YAML files of one kind, `models` or `deploy`."""
    for folder in (_PACKAGE / kind, _PACKAGE.parent / kind):
        if folder.is_dir() and any(folder.glob("*.yaml")):
            return folder
    raise SpecError(f"the {kind}/ folder that ships with decolle-hw is missing; install decolle-hw again")


def shipped_names(kind: str) -> list[str]:
    """Names that can be given instead of a path."""
    return sorted(path.stem for path in shipped_folder(kind).glob("*.yaml"))


def find_yaml(name: str, kind: str, noun: str) -> Path:
    """The YAML file behind a shipped name or a user's own path.

    Raises `SpecError` naming the nearest shipped name if neither exists.
    """
    if name in shipped_names(kind):
        return shipped_folder(kind) / f"{name}.yaml"
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        if path.is_file():
            return path
        raise SpecError(f"{noun} file {name} does not exist")
    raise SpecError(f"unknown {noun} {name!r}; {nearest(name, shipped_names(kind))}; or give a path to a .yaml")
