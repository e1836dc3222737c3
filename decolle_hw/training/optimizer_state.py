"""What an optimizer remembers of earlier updates, as tensors that a checkpoint can hold.

Restored into an optimizer that was built in the same way, training goes on bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.nn import Parameter
from torch.optim import Optimizer

from decolle_hw.errors import UsageError

POSITIONS = ("weight", "bias")  # in the parameter group of a layer


def optimizer_state(optimizer: Optimizer) -> dict[str, torch.Tensor]:
    """A copy of all that an optimizer remembers of earlier updates, on the CPU and contiguous.

    Names are `LAYER.weight.WHAT` and `LAYER.bias.WHAT`; numbers are tensors without axes. Where a tensor is not laid
    out row by row, `NAME.stride` says how: sums over another layout may be rounded differently.
    """
    found = {}
    for place, parameter in _places(optimizer):
        for key, value in optimizer.state.get(parameter, {}).items():
            if value is None:
                continue
            if not isinstance(value, torch.Tensor):
                value = torch.tensor(value, dtype=torch.int64 if isinstance(value, int) else torch.float64)
            if not value.is_contiguous():
                found[f"{place}.{key}.stride"] = torch.tensor(value.stride())
            found[f"{place}.{key}"] = value.detach().to("cpu", copy=True).contiguous()
    return found


def load_optimizer_state(optimizer: Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    """The inverse of `optimizer_state`, for an optimizer that was built in the same way.

    Raises `UsageError` where a tensor is missing, unknown, or of another type or shape.
    """
    strides = {name.removesuffix(".stride"): value for name, value in tensors.items() if name.endswith(".stride")}
    saved = {name: value for name, value in tensors.items() if not name.endswith(".stride")}
    blank = _after_one_update(optimizer)
    loaded: dict[Parameter, dict[str, Any]] = {}
    for place, parameter in _places(optimizer):
        names = {f"{place}.{key}": key for key in blank[place]}
        present = names.keys() & saved.keys()
        if not present:  # this parameter has had no update yet
            continue
        if present != names.keys():
            raise UsageError(f"state of the optimizer: {min(names.keys() - present)} is missing; train again")
        state = {}
        for name, key in names.items():
            state[key] = _restored(name, saved.pop(name), strides.pop(name, None), blank[place][key])
        loaded[parameter] = state
    if saved or strides:
        raise UsageError(
            f"state of the optimizer: {min(saved or strides)} is not of {type(optimizer).__name__} for this network; "
            f"resume with the training.optimizer, optimizer_args and network that it was trained with"
        )
    for parameter, state in loaded.items():
        optimizer.state[parameter] = state


def _restored(name: str, saved: torch.Tensor, stride: torch.Tensor | None, like: Any) -> Any:
    """`saved` as the kind of thing that an optimizer keeps there: a number, or a tensor of some type, place, layout."""
    expected = like if isinstance(like, torch.Tensor) else torch.tensor(like)
    if not isinstance(like, torch.Tensor):
        if saved.numel() != 1:
            raise UsageError(f"state of the optimizer: {name} has shape {list(saved.shape)}, not one number")
        return type(like)(saved.item())
    if (saved.shape, saved.dtype) != (expected.shape, expected.dtype):
        raise UsageError(
            f"state of the optimizer: {name} is {_described(saved)}, and {_described(expected)} in this network; "
            f"resume with the network that it was trained with"
        )
    layout = list(saved.stride()) if stride is None else stride.tolist()
    if not _is_dense(saved.shape, layout):
        raise UsageError(
            f"state of the optimizer: {name}.stride {layout} does not fit {list(saved.shape)}; train again"
        )
    return torch.empty_strided(saved.shape, layout, dtype=saved.dtype, device=expected.device).copy_(saved)


def _is_dense(shape: torch.Size, stride: list[int]) -> bool:
    """Whether the strides are those of a tensor without gaps whose axes were permuted."""
    if len(stride) != len(shape):
        return False
    expected = 1
    for step, length in sorted(zip(stride, shape, strict=True)):
        if length != 1:
            if step != expected:
                return False
            expected *= length
    return all(step >= 0 for step in stride)


def _after_one_update(optimizer: Optimizer) -> dict[str, dict[str, Any]]:
    """What the state of each parameter consists of: that of a twin after one update without effect."""
    options = [
        {**group, "params": [_zero_with_gradient(parameter) for parameter in group["params"]]}
        for group in optimizer.param_groups
    ]
    twin = type(optimizer)(options, lr=optimizer.param_groups[0]["lr"])  # type: ignore[call-arg]
    twin.step()
    return {
        place: {key: value for key, value in twin.state.get(parameter, {}).items() if value is not None}
        for place, parameter in _places(twin)
    }


def _zero_with_gradient(parameter: Parameter) -> Parameter:
    zero = Parameter(torch.zeros_like(parameter), requires_grad=False)
    zero.grad = torch.zeros_like(zero)
    return zero


def _places(optimizer: Optimizer) -> Iterator[tuple[str, Parameter]]:
    for layer, group in enumerate(optimizer.param_groups):
        for position, parameter in zip(POSITIONS, group["params"], strict=False):
            yield f"{layer}.{position}", parameter


def _described(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
