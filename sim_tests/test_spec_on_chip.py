"""The `on_chip` section: what is read, what is refused, and that it is no part of training."""

from __future__ import annotations

import pytest

from decolle_hw.compiler.plasticity import EPOCH_MAX
from decolle_hw.errors import SpecError
from decolle_hw.spec import load_model_spec, model_spec_from_yaml, model_spec_to_yaml, with_on_chip
from decolle_hw.spec_on_chip import LONGEST_EPOCH, OnChipSpec
from decolle_hw.training.runs import differences

EVERYTHING = (
    "on_chip.plastic=[output, 2, 1]", "on_chip.learning_rate=1e-3", "on_chip.trace=single", "on_chip.epoch=4",
    "on_chip.gate=0.25", "on_chip.classes=[7, 8, x]",
)  # fmt: skip


def test_a_model_learns_nothing_on_chip_unless_told():
    assert load_model_spec("digits").on_chip == OnChipSpec() and OnChipSpec().plastic == []
    assert LONGEST_EPOCH == EPOCH_MAX
    for name, field in OnChipSpec.model_fields.items():
        assert field.description, name


def test_everything_is_read_and_written_back():
    spec = load_model_spec("digits", EVERYTHING)
    assert spec.on_chip.plastic == [1, 2, "output"] and spec.on_chip.classes == ["7", "8", "x"]
    assert spec.on_chip.learning_rate == 0.001 and spec.on_chip.epoch == 4 and spec.on_chip.gate == 0.25
    assert model_spec_from_yaml(model_spec_to_yaml(spec), "test") == spec
    assert set(spec.on_chip.model_fields_set) == set(OnChipSpec.model_fields)


def test_a_trained_model_takes_them_later():
    before = load_model_spec("digits")
    after = with_on_chip(before, EVERYTHING)
    assert after.on_chip == load_model_spec("digits", EVERYTHING).on_chip
    assert differences(after, before) == [] and after != before
    for other in ("training.num_epochs=3", "dataset.classes=[1, 2]", "on_chip=3", "on_chipp.epoch=2"):
        with pytest.raises(SpecError, match=r"only on_chip.KEY"):
            with_on_chip(before, (*EVERYTHING, other))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("on_chip.plastic=[3]", ["on_chip.plastic [3]", "0..2", "output"]),
        ("on_chip.plastic=[-1]", ["on_chip.plastic"]),
        ("on_chip.plastic=[1, 1]", ["layer 1 stands in it twice"]),
        ("on_chip.plastic=[outptu]", ["on_chip.plastic"]),
        ("on_chip.plastic=output", ["on_chip.plastic", "list"]),
        ("on_chip.learning_rate=0", ["on_chip.learning_rate"]),
        ("on_chip.epoch=64", ["on_chip.epoch", "63"]),
        ("on_chip.epoch=2.5", ["on_chip.epoch"]),
        ("on_chip.trace=triple", ["on_chip.trace", "single"]),
        ("on_chip.gate=-1", ["on_chip.gate"]),
        ("on_chip.classes=[a]", ["1 of at least 2 classes"]),
        ("on_chip.epochs=3", ["did you mean 'epoch'?"]),
    ],
)
@pytest.mark.parametrize("trained", [False, True])
def test_wrong_values_are_named(override, words, trained):
    with pytest.raises(SpecError) as caught:
        if trained:
            with_on_chip(load_model_spec("digits"), (override,))
        else:
            load_model_spec("digits", (override,))
    for word in words:
        assert word in str(caught.value)
