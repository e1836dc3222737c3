"""Lava's search for process models, once for each class of processes.

For every single process of a network Lava executes all .py files in the folders where its models may stand, which is
most of the time that a small network takes to start. What is found depends on the class of the process alone.

Lava executes this file a second time under its bare name when it looks for process models: keep it free of effects.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from lava.magma.compiler.compiler_graphs import ProcGroupDiGraphs
from lava.magma.core.process.process import AbstractProcess

_models: dict[type[AbstractProcess], list[Any]] = {}
_search = ProcGroupDiGraphs._find_proc_models


@contextlib.contextmanager
def models_found_once() -> Iterator[None]:
    """Within the block, and in later ones, Lava searches for the models of a class of processes only once."""
    ProcGroupDiGraphs._find_proc_models = staticmethod(_found)
    try:
        yield
    finally:
        ProcGroupDiGraphs._find_proc_models = staticmethod(_search)


def _found(proc: AbstractProcess) -> list[Any]:
    found = _models.get(type(proc))
    if found is None:
        found = _models[type(proc)] = _search(proc)
    return list(found)
