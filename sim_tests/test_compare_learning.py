"""Two runs of learning are compared value by value, and the first that differs is named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from learning_tools import teaching_case

from decolle_hw.sim.compare_learning import compare_learning


@pytest.fixture(scope="module")
def case():
    return teaching_case(1, "decolle")


@pytest.fixture(scope="module")
def learned(case):
    return case.reference()[0]


def test_equal_runs(case, learned):
    found = compare_learning(case.learning, learned, case.reference()[0])
    assert found.equal and found.first is None and found.mismatches == 0
    records = learned.records
    assert found.per_quantity["spikes"] == (sum(record.spikes.size for record in records), 0)
    weights = sum(record.weight.size for record in records)
    assert found.per_quantity["weights"] == (weights, 0) and weights > 10_000
    assert found.per_quantity["traces"][0] == sum(record.x.size + record.y.size for record in records)
    assert set(found.per_quantity) == {"spikes", "u", "v", "r", "weights", "traces"}


def changed(learned, layer: int, quantity: str, place: tuple[int, ...], by: int):
    """A copy with one value changed."""
    records = list(learned.records)
    record = records[layer]
    values = np.array(record.registers[quantity] if quantity in record.registers else getattr(record, quantity))
    values[place] += by
    if quantity in record.registers:
        records[layer] = replace(record, registers=record.registers | {quantity: values})
    else:
        records[layer] = replace(record, **{quantity: values})
    return replace(learned, records=tuple(records))


@pytest.mark.parametrize(
    ("layer", "quantity", "place", "step"),
    [
        (0, "weight", (0, 7, 3, 5), 7), (1, "weight", (0, 7, 1, 5), 15), (0, "u", (0, 9, 2), 9),
        (0, "x", (0, 4, 1, 6), 4), (1, "y", (0, 4, 0, 2), 9), (1, "v", (0, 33, 1), 33), (1, "spikes", (0, 50, 0), 50),
    ],
)  # fmt: skip
def test_one_value_that_differs_is_found(case, learned, layer, quantity, place, step):
    other = changed(learned, layer, quantity, place, 1)
    found = compare_learning(case.learning, learned, other)
    assert found.mismatches == 1 and not found.equal and found.first is not None
    first = found.first
    assert (first.layer, first.quantity, first.place, first.step) == (1 + layer, quantity, place[2:], step)
    assert first.right == first.left + 1 or quantity == "spikes"
    shown, within = divmod(step, case.learning.slot)
    text = first.between("one", "the other")
    assert f"recording number {shown + 1} that was shown, step {within} on chip, layer {1 + layer}" in text


def test_the_earliest_is_the_first(case, learned):
    other = changed(changed(learned, 0, "v", (0, 40, 3), 1), 1, "weight", (0, 2, 1, 1), 1)
    found = compare_learning(case.learning, learned, other)
    assert found.mismatches == 2 and found.first is not None and found.first.quantity == "weight"
