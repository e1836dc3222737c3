"""How near learning on chip comes to the float rule: measured, and what is said about it."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from quantize_tools import CLASSES, make_spec
from rich.console import Console
from test_lower_rule import Tiny, patterns

from decolle_hw.compiler.learning_program import GATE_OPEN
from decolle_hw.fidelity.faithfulness import Faithfulness, faithfulness, updates_in_real_numbers, updates_on_chip
from decolle_hw.quantization.lower_rule import LoweredRule, lower_rule
from decolle_hw.quantization.lower_rule_observed import cosine
from decolle_hw.quantization.untrained import untrained_program
from decolle_hw.report.faithful import print_faithfulness
from decolle_hw.spec_on_chip import OnChipSpec


@pytest.fixture(scope="module", params=["decolle", "cuba"])
def tiny(request: pytest.FixtureRequest) -> Tiny:
    recordings = patterns(1, 30)
    program, network = untrained_program(make_spec(request.param), CLASSES, 3, recordings, "loihi2")
    return Tiny(program, network, recordings)


@pytest.fixture(scope="module")
def lowered(tiny: Tiny) -> LoweredRule:
    return lower_rule(tiny.program, tiny.network, OnChipSpec(), tiny.recordings, (0, 1))


@pytest.fixture(scope="module")
def result(tiny: Tiny, lowered: LoweredRule) -> Faithfulness:
    return faithfulness(lowered.learning, tiny.network, tiny.recordings, times=4)


def test_the_default_lowering_is_faithful(result: Faithfulness) -> None:
    """0.9 of the float update's direction, and about its length; each step of the chain is a cosine."""
    for layer in result.layers:
        assert layer.cosine > 0.9
        assert 0.6 < layer.magnitude < 1.6
        assert layer.real_numbers > 0.9
        assert list(layer.chain) == ["gate", "delay", "trace", "7 bits", "rounding"]
        assert all(0.85 < value <= 1 for value in layer.chain.values())
        assert layer.chain["rounding"] == layer.cosine
        assert layer.changed > 0
    assert not result.warnings


def test_weights_are_put_back(tiny: Tiny, lowered: LoweredRule) -> None:
    """What a recording teaches does not depend on what others taught, but for chance and what is left of traces."""
    moved = updates_on_chip(lowered.learning, tiny.recordings, 2, 1, "lava")[0]
    assert len(moved) == 60
    assert cosine(sum(moved[:30]), sum(moved[30:])) > 0.8
    assert any(np.any(first != second) for first, second in zip(moved[:30], moved[30:], strict=True)), "chance goes on"
    known = faithfulness(lowered.learning, tiny.network, tiny.recordings, times=1, new_labels=False)
    assert all(layer.cosine > 0.6 for layer in known.layers), "random weights know no label yet"
    real = updates_in_real_numbers(lowered.learning, tiny.recordings)[0]
    assert cosine(real, sum(moved)) > 0.8


def test_a_rule_that_cannot_work_is_said(tiny: Tiny, lowered: LoweredRule) -> None:
    """Updates that round to zero; a gate that is always open; traces that saturate."""
    first, second = lowered.learning.plastic
    broken = (replace(first, feedback_shift=23), replace(second, gate_width=GATE_OPEN))
    result = faithfulness(replace(lowered.learning, plastic=broken), tiny.network, tiny.recordings, times=1)
    assert result.layers[0].silent == 1.0
    assert "layer 0: its updates always round to zero" in result.warnings[0]
    assert result.layers[1].chain["gate"] < 0.9
    assert any("layer 1" in warning and "most is lost to: gate" in warning for warning in result.warnings)
    loud = (replace(first, x1=replace(first.x1, impulse=127.0), x2=replace(first.x2, impulse=127.0)), second)
    result = faithfulness(replace(lowered.learning, plastic=loud), tiny.network, tiny.recordings, times=1)
    assert any("of its traces are cut at 127" in warning for warning in result.warnings)


def test_table_and_json(result: Faithfulness) -> None:
    text = io.StringIO()
    print_faithfulness(replace(result, warnings=("layer 1: something",)), Console(file=text, width=200))
    assert f"{result.layers[0].cosine:.3f}" in text.getvalue()
    assert "warning: layer 1: something" in text.getvalue()
    values = json.loads(json.dumps(result.to_json()))
    assert values["recordings"] == 30
    assert values["new_labels"]
    assert values["layers"][1]["chain"]["gate"] == result.layers[1].chain["gate"]
