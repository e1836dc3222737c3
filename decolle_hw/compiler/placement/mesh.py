"""Cores of a chip to tiles of its mesh: a snake through the tiles, then swaps that shorten the way of messages."""

# n cores of a chip

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiler.placement.model import IntArray
from decolle_hw.compiler.placement.traffic import Traffic
from decolle_hw.targets import Target

SWAPS = 64  # per chip: each looks at every pair of its cores


def tiles_of(target: Target, chip: IntArray, row: IntArray, traffic: Traffic) -> tuple[IntArray, IntArray]:
    """(K,) x and (K,) y of each core; `row` is the order in which the cores of a chip follow the snake."""
    x, y = np.zeros(len(chip), np.int64), np.zeros(len(chip), np.int64)
    snake_x, snake_y = _snake(target)
    place = np.zeros(len(chip), np.int64)  # of a core among those of its chip
    same = chip[traffic.source] == chip[traffic.destination]
    chips = chip[row]
    order = np.argsort(chips, kind="stable")
    edges_order = np.argsort(chip[traffic.source[same]], kind="stable")
    edge_chip = chip[traffic.source[same]][edges_order]
    for index in range(int(chip.max()) + 1):
        first, behind = np.searchsorted(chips[order], (index, index + 1))
        here = row[order[first:behind]]
        place[here] = np.arange(len(here))
        low, high = np.searchsorted(edge_chip, (index, index + 1))
        edges = np.flatnonzero(same)[edges_order[low:high]]
        weight = np.zeros((len(here), len(here)))
        np.add.at(weight, (place[traffic.source[edges]], place[traffic.destination[edges]]), traffic.messages[edges])
        of_core = _swapped(weight + weight.T, snake_x[: len(here)], snake_y[: len(here)])
        x[here], y[here] = snake_x[of_core], snake_y[of_core]
    return x, y


def _snake(target: Target) -> tuple[IntArray, IntArray]:
    """x and y of place 0, 1, ... of a chip: row by row, every second one backwards."""
    columns, rows = target.mesh.value
    y, x = np.divmod(np.arange(columns * rows), columns)
    x = np.where(y % 2, columns - 1 - x, x)
    each = target.cores_per_tile.value
    return np.repeat(x, each), np.repeat(y, each)


def _swapped(weight: NDArray[np.float64], x: IntArray, y: IntArray) -> IntArray:
    """(n,) place of each core: from place i for core i on, the pair whose swap saves most hops, one after the other.

    With hops d between places and messages w between cores, swapping i and j saves
    (M_ii + M_jj) - (M_ij + M_ji) - 2 w_ij d_ij, where M_ij = sum over k of w_ik d(place of j, place of k).
    """
    np.fill_diagonal(weight, 0.0)
    distance = (np.abs(x[:, None] - x[None, :]) + np.abs(y[:, None] - y[None, :])).astype(np.float64)
    place = np.arange(len(weight))
    threshold = 1e-9 * float(weight.sum())
    for _ in range(SWAPS if weight.any() and distance.any() else 0):
        moved = distance[np.ix_(place, place)]
        m = weight @ moved
        own = np.diag(m)
        saved = own[:, None] + own[None, :] - m - m.T - 2 * weight * moved
        i, j = np.unravel_index(int(np.argmax(saved)), saved.shape)
        if saved[i, j] <= threshold:
            break
        place[[i, j]] = place[[j, i]]
    return place
