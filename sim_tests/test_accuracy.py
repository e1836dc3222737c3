"""The zoo's digits networks learn, and stay as good in integers and in Lava: a shortened training of both neurons."""

from __future__ import annotations

import numpy as np
import pytest
from rich.console import Console

from decolle_hw.compiling.pipeline import compile_trained
from decolle_hw.fidelity.summary import float_against_integer
from decolle_hw.sim.trace import decide
from decolle_hw.spec import load_model_spec
from decolle_hw.workflow import load_test_recordings, run_both, spread, train_model

# Full training reaches 98-99 % (README); four of its epochs, with its drop of the learning rate, must come near.
SHORT = ("training.num_epochs=4", "training.lr_drop_interval=3")
RECORDINGS = 50  # in Lava; the integers that it must equal are counted over all test recordings


@pytest.mark.parametrize("model", ["digits", "digits-cuba"])
def test_digits_float_integer_and_lava(model, tmp_path):
    pytest.importorskip("lava", reason="Lava is not installed")
    console = Console(quiet=True)
    run = train_model(load_model_spec(model, SHORT), tmp_path / "runs", "cpu", console)
    assert run.metrics["test_accuracy"][-1] >= 0.95
    compiled = compile_trained(run.folder, tmp_path / "x.net", console)
    assert abs(compiled.fidelity.float_accuracy - compiled.fidelity.integer_accuracy) <= 0.01
    recordings = spread(load_test_recordings(compiled.program, None), RECORDINGS)
    trace, comparison = run_both(compiled.program, recordings, record=True, console=console)
    assert comparison.equal and comparison.compared > 130_000 * RECORDINGS
    lava_hits = np.sum(decide(compiled.program, trace) == recordings.labels)
    float_hits = float_against_integer(run.network(), compiled.program, recordings).float_hits
    assert abs(int(lava_hits) - float_hits) <= 1  # of fifty recordings
