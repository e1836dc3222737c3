"""What the frozen layers below a plastic one send on chip, at every step of a slot.

A layer's *frame* of recording k are the steps on chip from its reset for this recording to before that for the next:
``k*slot + reset .. (k+1)*slot + reset - 1``. It depends on this recording alone, so the frames of all recordings are
made at once, and a run strings together those of the recordings that it is shown. The last `reset` steps of a frame
fall into the slot of the next recording: they are a run's *tail*. Before the first recording there is a lead-in
instead, in which neurons with a bias may spike already.
"""

# R recordings, T steps of a recording, S of a slot, I inputs, N neurons

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiler.layers import Layer
from decolle_hw.compiler.program import Program
from decolle_hw.sim.reference import run_layer

AT_ONCE = 64  # recordings: what is between the layers need not be there for all of them


def frozen_frames(program: Program, recordings: NDArray[Any], layer: int) -> NDArray[np.uint8]:
    """(R, S, N) frames of what layer `layer` is given, for recordings (R, T, I); the last layer's for one more.

    Raises: ValueError if the input is not binary or does not fit the network.
    """
    program.check_input(recordings)
    if recordings.shape[1] != program.steps:
        raise ValueError(f"expected recordings of {program.steps} steps, got {recordings.shape[1]}")
    slot = program.slot_steps()
    longest = slot + max((program.first_step(index) for index in range(layer)), default=0)
    neurons = program.layers[layer - 1].num_neurons if layer else program.num_inputs
    frames = np.zeros((len(recordings), slot, neurons), np.uint8)
    for begin in range(0, len(recordings), AT_ONCE):
        given = recordings[begin : begin + AT_ONCE]
        spikes_RTI = np.zeros((len(given), longest, program.num_inputs), np.uint8)
        spikes_RTI[:, : program.steps] = given
        start = 0
        for index in range(layer):
            start = program.first_step(index)
            spikes_RTI = run_layer(program.layers[index], spikes_RTI, first=start, record=False).spikes
        frames[begin : begin + AT_ONCE] = spikes_RTI[:, start : start + slot]
    return frames


def lead_in(program: Program, layer: int) -> NDArray[np.uint8]:
    """(steps, I) of what layer `layer` is given before the first frame: from registers at zero, without any input."""
    spikes_TI = np.zeros((0, program.num_inputs), np.uint8)
    for index in range(layer):
        spikes_TI = _without_input(program.layers[index], spikes_TI, program.reset_steps[index])
    return spikes_TI


def chip_sequence(tail: NDArray[np.uint8], frames: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Steps of whole slots, (B, K*S, I), of runs that were shown (B, K, S, I) frames, and the tail that is left."""
    runs, shown, slot, inputs = frames.shape
    joined = np.concatenate([tail, frames.reshape(runs, shown * slot, inputs)], 1)
    return joined[:, : shown * slot], joined[:, shown * slot :].copy()


def _without_input(layer: Layer, before_TI: NDArray[np.uint8], steps: int) -> NDArray[np.uint8]:
    # A pooling stage is simulated in the time of the float network, where it has no latency.
    given_TI = np.zeros((steps + 1, layer.num_inputs), np.uint8)
    shifted = int(layer.is_pooling)
    given_TI[shifted : shifted + len(before_TI)] = before_TI[: steps + 1 - shifted]
    return run_layer(layer, given_TI[None], first=0, record=False).spikes[0, :steps]
