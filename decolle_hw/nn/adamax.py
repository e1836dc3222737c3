"""Adamax in one pass over memory.

    m = beta1 m + (1-beta1) g;   n = max(beta2 n, |g| + eps);   W -= lr / (1 - beta1**k) * m / n   (k-th update)

The same as `torch.optim.Adamax`, which takes ten passes and stacks two copies of n to take their maximum: an
update of a 512 x 512 layer took 0.7 ms, an eighth of the time of its chunk.

Source: Kingma, Ba 2015, algorithm 2; the authors of DECOLLE use it with betas (0, 0.95).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from numba import njit

from decolle_hw.nn.factors import Factors, add_row

RANGE = 1 << 15  # elements at a time: sums of gradients are still in the second-level cache when they are used

Run = Callable[[Callable[[Any], Any], Iterable[Any]], Any]


@njit(nogil=True, cache=True, error_model="numpy")
def _update(weight, gradient, mean, norm, keep, take, beta2, eps, rate):
    for k in range(weight.shape[0]):
        g = gradient[k]
        m = keep * mean[k] + take * g
        before, now = beta2 * norm[k], abs(g) + eps
        n = before if before > now else now  # max() would look for NaN, and keep the loop scalar
        mean[k] = m
        norm[k] = n
        weight[k] -= rate * m / n


@njit(nogil=True, cache=True, error_model="numpy")
def _add(total, other):
    for k in range(total.shape[0]):
        total[k] += other[k]


@njit(nogil=True, cache=True, error_model="numpy")
def _update_without_mean(weight, gradient, norm, beta2, eps, rate):
    """For beta1 = 0, where m is g: two passes over memory less."""
    for k in range(weight.shape[0]):
        g = gradient[k]
        before, now = beta2 * norm[k], abs(g) + eps
        n = before if before > now else now
        norm[k] = n
        weight[k] -= rate * g / n


class CompiledAdamax(torch.optim.Adamax):
    """`torch.optim.Adamax` for float32 parameters on a CPU, with its states and groups.

    With beta1 = 0 the running mean is the gradient itself and its state, never read, stays zero.
    """

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update all parameters that have a gradient; a closure is not supported."""
        assert closure is None
        self.update({}, map, 1)

    @torch.no_grad()
    def update(self, others: dict[torch.Tensor, list[torch.Tensor | Factors]], run: Run, workers: int) -> None:
        """The same by the sums of several gradients, in several threads.

        Args:
            others: by parameter, gradients to add to its own. A parameter without one of its own has only `Factors`.
            run: as `map`; may call in several threads.
            workers: pieces to split the work into.
        """
        tasks: list[list[Callable[[], None]]] = [[] for _ in range(workers)]
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for parameter in group["params"]:
                more = others.get(parameter, [])
                if parameter.grad is None and not more:
                    continue
                state = self.state[parameter]
                if not state:
                    state["step"] = torch.tensor(0.0)
                    state["exp_avg"] = torch.zeros_like(parameter)
                    state["exp_inf"] = torch.zeros_like(parameter)
                state["step"] += 1
                rate = group["lr"] / (1.0 - beta1 ** state["step"].item())
                scalars = tuple(map(np.float32, (beta1, 1.0 - beta1, beta2, group["eps"], rate)))
                states = parameter.data, state["exp_avg"], state["exp_inf"]
                if parameter.grad is None:
                    matrices = [tensor.T.numpy() for tensor in states]
                    parts = [factors.arrays() for factors in more]  # type: ignore[union-attr]
                    work = functools.partial(_update_rows, matrices, tuple(zip(*parts, strict=True)), scalars)
                    size = len(matrices[0])
                else:
                    tensors = (*states, parameter.grad, *more)
                    arrays = [in_memory_order(tensor, parameter) for tensor in tensors]  # type: ignore[arg-type]
                    work = functools.partial(_update_range, arrays, scalars)
                    size = len(arrays[0])
                bounds = [size * worker // workers for worker in range(workers + 1)]
                for task, start, stop in zip(tasks, bounds, bounds[1:], strict=False):
                    task.append(functools.partial(work, start, stop))
        list(run(_do_all, tasks))


def _do_all(work: list[Callable[[], None]]) -> None:
    for piece in work:
        piece()


def _update_range(arrays: list[np.ndarray], scalars: tuple[Any, ...], first: int, last: int) -> None:
    keep, take, beta2, eps, rate = scalars
    for start in range(first, last, RANGE):
        weight, mean, norm, gradient, *others = (array[start : min(start + RANGE, last)] for array in arrays)
        for other in others:
            _add(gradient, other)
        if keep == 0.0:
            _update_without_mean(weight, gradient, norm, beta2, eps, rate)
        else:
            _update(weight, gradient, mean, norm, keep, take, beta2, eps, rate)


def _update_rows(
    matrices: list[np.ndarray],
    parts: tuple[tuple[np.ndarray, ...], ...],
    scalars: tuple[Any, ...],
    first: int,
    last: int,
) -> None:
    _update_factored(first, last, *parts, *matrices, *scalars)


@njit(nogil=True, cache=True, error_model="numpy")
def _update_factored(
    first, last, values, deltas, begins, rows, Ds, weight_IN, mean_IN, norm_IN, keep, take, beta2, eps, rate
):
    """Rows of the weights, each as soon as its gradient is known; the factors are tuples with an entry per part."""
    units = weight_IN.shape[1]
    most = 0
    for p in range(len(values)):
        most = max(most, values[p].shape[1])
    places = np.empty(most + 1, np.int64)
    gradient = np.empty(units, np.float32)
    for i in range(first, last):
        gradient[:] = np.float32(0.0)
        touched = False
        for p in range(len(values)):
            if add_row(i, values[p], deltas[p], begins[p], rows[p], Ds[p], places, gradient):
                touched = True
        norm = norm_IN[i]
        if keep != np.float32(0.0):
            _update(weight_IN[i], gradient, mean_IN[i], norm, keep, take, beta2, eps, rate)
        elif touched:
            _update_without_mean(weight_IN[i], gradient, norm, beta2, eps, rate)
        else:  # no gradient, no step; only the norm forgets
            for n in range(units):
                before = beta2 * norm[n]
                norm[n] = before if before > eps else eps


def in_memory_order(tensor: torch.Tensor, like: torch.Tensor) -> np.ndarray:
    """All elements of a tensor in the order in which those of `like` lie in memory, sharing memory with `tensor`.

    Both are dense: a parameter may be stored transposed, and what belongs to it is stored the same way.
    """
    assert tensor.shape == like.shape and tensor.stride() == like.stride(), (tensor.stride(), like.stride())
    return torch.as_strided(tensor, (tensor.numel(),), (1,)).numpy()
