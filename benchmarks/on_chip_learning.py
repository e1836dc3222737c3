"""Learned samples per second: the learning reference against Lava, for a single run and batched over seeds.

    python benchmarks/on_chip_learning.py [--shown K] [--seeds B]

The network is of the size that digits need: 128 inputs, a frozen hidden layer of 150 neurons, a plastic one of 150
with a local readout, and a plastic output layer of 10, taught for 39 of 50 steps. Both sides make the same weights,
which is checked.
"""

# B runs, K recordings shown

from __future__ import annotations

import argparse
import time

import numpy as np

from decolle_hw.compiler.learning_program import ErrorNeurons, LearningProgram, PlasticLayer, output_readout
from decolle_hw.compiler.plasticity import TraceFilter, three_factor_rule
from decolle_hw.lava_backend.learning_runner import learn_in_lava
from decolle_hw.sim.learning import learn
from decolle_hw.sim.learning_state import start_state
from decolle_hw.sim.random_program import random_program

CLASSES, STEPS = 10, 50


def network(rng: np.random.Generator) -> LearningProgram:
    program = random_program(
        rng, "cuba", sizes=(128, 150, 150, CLASSES), classes=CLASSES, steps=STEPS, weight_kind="mixed", weight_exp=0
    )
    hidden = PlasticLayer(
        layer=1, rule=three_factor_rule(-6), x1=TraceFilter(30, 8), error=ErrorNeurons(300, -300, decay=800, shift=3),
        readout_weight=rng.integers(-40, 40, (CLASSES, 150)).astype(np.int32),
        readout_bias=np.zeros(CLASSES, np.int32), feedback_shift=5, gate_width=1 << 21,
    )  # fmt: skip
    output = PlasticLayer(
        layer=2, rule=three_factor_rule(-6), x1=TraceFilter(30, 8), error=ErrorNeurons(60, 0),
        **output_readout(CLASSES, 40),
    )  # fmt: skip
    return LearningProgram(program, (hidden, output))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shown", type=int, default=40, help="recordings shown to each run")
    parser.add_argument("--seeds", type=int, default=16, help="runs of the batch")
    wanted = parser.parse_args()
    learning, recordings = _active_network()
    rng = np.random.default_rng(3)
    order = rng.integers(0, len(recordings), (wanted.seeds, wanted.shown))
    targets = rng.integers(0, CLASSES, order.shape)
    learn(learning, start_state(learning), recordings, order[:1, :1], targets[:1, :1])  # compiles

    single, weights = _time_reference(learning, recordings, order[:1], targets[:1])
    batched, _ = _time_reference(learning, recordings, order, targets)
    began = time.perf_counter()
    learn_in_lava(learning, recordings, order[0, :1], targets[0, :1], seed=1)
    start_up = time.perf_counter() - began
    began = time.perf_counter()
    _, in_lava = learn_in_lava(learning, recordings, order[0], targets[0], seed=1)
    lava = (wanted.shown - 1) / (time.perf_counter() - began - start_up)
    for layer, weight in in_lava.items():
        np.testing.assert_array_equal(weight, weights[layer])
    print(f"{wanted.shown} recordings of {STEPS} steps; weights equal to Lava's")
    print(f"Lava, one run            {lava:10.1f} learned samples/s (start of {start_up:.1f} s not counted)")
    print(f"reference, one run       {single:10.1f} learned samples/s, {single / lava:8.1f} x Lava")
    print(f"reference, {wanted.seeds:3d} runs      {batched:10.1f} learned samples/s, {batched / lava:8.1f} x Lava")


def _active_network() -> tuple[LearningProgram, np.ndarray]:
    """The first random one in which all layers spike and learn."""
    for seed in range(100):
        rng = np.random.default_rng(seed)
        learning = network(rng)
        recordings = (rng.random((20, STEPS, 128)) < 0.1).astype(np.uint8)
        order, targets = np.arange(20)[None], rng.integers(0, CLASSES, (1, 20))
        learned, _ = learn(learning, start_state(learning), recordings, order, targets, record=True)
        rates = [float(record.spikes.mean()) for record in learned.records]
        if min(rates) > 0.01 and max(rates) < 0.4 and min(count[0] for count in learned.changed.values()) > 1000:
            changed = ", ".join(f"layer {layer} {count[0] / 20:.0f}" for layer, count in learned.changed.items())
            print(f"spikes per neuron and step {rates}; weights changed by a sample: {changed}")
            return learning, recordings
    raise SystemExit("no active network found")


def _time_reference(
    learning: LearningProgram, recordings: np.ndarray, order: np.ndarray, targets: np.ndarray
) -> tuple[float, dict[int, np.ndarray]]:
    """Learned samples per second, the best of three; weights of the first run."""
    best = 0.0
    for _ in range(3):
        state = start_state(learning, np.ones(len(order), np.int64))
        began = time.perf_counter()
        _, end = learn(learning, state, recordings, order, targets)
        best = max(best, order.size / (time.perf_counter() - began))
    return best, {plastic.layer: end.weights(learning, plastic.layer)[0] for plastic in learning.plastic}


if __name__ == "__main__":
    main()
