"""A weight that products see on the grid of an n-bit synapse, and that learns as a float: straight through.

    forward:  W_q = step clip(rint(W / step), low, high)
    update:   W <- W - optimizer(dL/dW at W_q)

The step follows from W alone (`decolle_hw.weightgrid.best_step`): it is state of nobody, and a checkpoint of the floats
gives the same W_q to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from decolle_hw.nn.adamax import in_memory_order
from decolle_hw.weightgrid import best_step, grid_limits, snap


class QuantizableWeight(nn.Module):
    """Base of a module with a `weight`.

    Attributes:
        weight: what products see. Learned floats until `quantize` is called; then W_q.
        weight_bits: n; None: the weight stays float, and everything here does nothing.
        weight_step: step of the grid that `weight` is on; None: on none.
        master_weight: the learned floats while `weight` is W_q; else None.

    A state dict holds the learned floats under the name `weight`, quantized or not. Loaded ones are not quantized yet.
    """

    weight: nn.Parameter
    master_weight: torch.Tensor | None

    def __init__(self, weight_bits: int | None) -> None:
        super().__init__()
        self.weight_bits = weight_bits
        self.weight_step: float | None = None
        self.register_buffer("master_weight", None, persistent=False)

    @torch.no_grad()
    def quantize(self) -> None:
        """Choose the step for the learned weights as they are, and put `weight` on its grid.

        Weights that are not finite become NaN, so that the forward shows it, which can say where and when.
        """
        if self.weight_bits is None:
            return
        if self.master_weight is None:
            self.master_weight = self.weight.data
            self.weight.data = torch.empty_like(self.master_weight)
        try:
            self.weight_step = best_step(self.master_weight.cpu().numpy(), self.weight_bits)
        except ValueError:
            self.weight_step = math.nan
        self._snap()

    @contextmanager
    def learned_weight(self) -> Iterator[None]:
        """Within the block `weight` is the float one, for whoever changes it; then W_q again, with the step it had."""
        if self.master_weight is None:
            yield
            return
        on_grid = self.weight.data
        self.weight.data = self.master_weight
        try:
            yield
        finally:
            self.weight.data = on_grid
            self._snap()

    @torch.no_grad()
    def _snap(self) -> None:
        master, weight, step = self.master_weight, self.weight.data, self.weight_step
        assert master is not None and self.weight_bits is not None and step is not None
        low, high = grid_limits(self.weight_bits)
        if master.device.type == "cpu" and master.dtype == torch.float32:
            arrays = in_memory_order(master, weight), in_memory_order(weight, weight)
            snap(arrays[0], *map(np.float32, (step, low, high)), arrays[1])
            return
        # By a tensor: a number would be turned into its reciprocal on a GPU, which rounds differently.
        q = master.float() / torch.tensor(step, device=master.device)
        q = q.round_().clamp_(low, high).mul_(step).add_(master.float() - master.float())
        weight.copy_(q)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self.master_weight is not None:
            destination[prefix + "weight"] = self.master_weight

    def _load_from_state_dict(self, *arguments: Any) -> None:
        if self.master_weight is not None:
            self.weight.data, self.master_weight, self.weight_step = self.master_weight, None, None
        super()._load_from_state_dict(*arguments)
