"""`training.deterministic`: torch refuses what it cannot repeat to the bit."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from decolle_hw.errors import UsageError

# cuBLAS reads it when it starts. Source: torch.use_deterministic_algorithms, NVIDIA cuBLAS "Results Reproducibility".
WORKSPACE, WORKSPACE_VALUE = "CUBLAS_WORKSPACE_CONFIG", ":4096:8"


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """Within the block torch uses deterministic algorithms only; afterwards everything is as before.

    Raises `UsageError` that names the operation for which there is none.
    """
    if not wanted:
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    only_warn = torch.is_deterministic_algorithms_warn_only_enabled()
    workspace = os.environ.get(WORKSPACE)
    os.environ.setdefault(WORKSPACE, WORKSPACE_VALUE)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    except RuntimeError as error:
        if "deterministic" not in str(error):
            raise
        reason = " ".join(str(error).split()).split(". ")[0]
        raise UsageError(f"training.deterministic true: {reason}; set it to false, or use --device cpu") from None
    finally:
        torch.use_deterministic_algorithms(before, warn_only=only_warn)
        if workspace is None:
            del os.environ[WORKSPACE]
