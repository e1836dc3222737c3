"""What the float network does on calibration recordings: how far its registers go, and every spike of some of them."""

# T steps, B batch, R recordings kept, I inputs, N neurons of a map, M neurons after pooling

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from decolle_hw.data import BinnedRecordings
from decolle_hw.errors import CompileError
from decolle_hw.nn.layer import DecolleLayer, LayerOutput, LayerState
from decolle_hw.nn.network import DecolleNetwork
from decolle_hw.nn.neurons import NeuronState, cuba_chunk

KEPT_RECORDINGS = 32  # whose spikes are kept: the search compares with them
BATCH = 32
# Bounds on memory, whatever the network: entries of one float array, bytes of all spikes kept.
CHUNK_ENTRIES, KEPT_BYTES = 1 << 24, 1 << 28


@dataclass(frozen=True)
class FloatRanges:
    """Largest magnitudes that one layer's float registers reached."""

    voltage: float  # |W P| (decolle), or how far v went below zero (cuba)
    current: float  # |W Q|


@dataclass(frozen=True)
class Calibration:
    """All that the quantizer knows of the data."""

    recordings: int
    ranges: tuple[FloatRanges, ...]  # of each layer, on all recordings
    rates: tuple[float, ...]  # of each layer, on all recordings: spikes per neuron and step, after pooling
    inputs_RTI: NDArray[np.uint8]  # of the recordings kept
    spikes: tuple[NDArray[np.uint8], ...]  # of each layer, (R, T, M) after pooling

    @property
    def kept(self) -> int:
        return len(self.inputs_RTI)


@torch.no_grad()
def calibrate(network: DecolleNetwork, recordings: BinnedRecordings, keep: int = KEPT_RECORDINGS) -> Calibration:
    """Run the float network on recordings, evenly spread ones of which are kept.

    Args:
        keep: how many, unless that takes more than `KEPT_BYTES`.

    Raises `CompileError` that names layer and count where weights are not finite.
    """
    _require_finite(network)
    steps = recordings.window
    layers = list(network)
    widest = max(max(layer.shape.neurons, layer.shape.inputs) for layer in layers)
    bytes_each = steps * (recordings.num_inputs + sum(layer.shape.outputs for layer in layers))
    kept = min(len(recordings), keep, max(1, KEPT_BYTES // bytes_each))
    order = _spread_first(len(recordings), kept)
    rows = max(1, CHUNK_ENTRIES // widest)
    batch = min(BATCH, max(1, rows // steps))
    seen = [_Seen(layer, kept, steps) for layer in layers]
    inputs_RTI = np.zeros((kept, steps, recordings.num_inputs), np.uint8)
    for at in range(0, len(order), batch):
        which = order[at : at + batch]
        frames_TBI = recordings.dense(which)
        visible = min(max(0, kept - at), len(which))
        inputs_RTI[at : at + visible] = frames_TBI[:, :visible].transpose(1, 0, 2)
        states = network.zero_state(len(which))
        for start, stop in _pieces(steps, max(1, rows // batch)):
            outputs, after = network(torch.from_numpy(frames_TBI[start:stop]).float(), states)
            for layer_seen, state, output in zip(seen, states, outputs, strict=True):
                layer_seen.add(state, output, start, at, visible)
            states = after
    entries = len(recordings) * steps
    return Calibration(
        len(recordings), tuple(FloatRanges(layer.voltage, layer.current) for layer in seen),
        tuple(layer.count / (entries * layer.outputs) for layer in seen),
        inputs_RTI, tuple(layer.spikes_RTM for layer in seen),
    )  # fmt: skip


class _Seen:
    """What one layer has done so far."""

    def __init__(self, layer: DecolleLayer, kept: int, steps: int) -> None:
        self.layer = layer
        self.outputs = layer.shape.outputs
        self.voltage = self.current = self.count = 0.0
        self.spikes_RTM = np.zeros((kept, steps, self.outputs), np.uint8)
        self.last_BN = torch.empty(0)  # W P of the step before the chunk

    def add(self, state: LayerState, output: LayerOutput, start: int, recording: int, visible: int) -> None:
        """A chunk from step `start` of a batch whose first `visible` recordings are kept, from place `recording`."""
        drive_TBN = self.layer.product(output.trace_TBI, bias=False)
        first_BN = torch.zeros_like(drive_TBN[0]) if start == 0 else self.last_BN
        self.last_BN = drive_TBN[-1].clone()
        # W Q follows from W P, as P filters Q: (P[t] - alpha P[t-1]) / (1 - alpha) = Q[t-1].
        alpha = self.layer.dynamics.alpha
        current_TBN = drive_TBN.clone()
        current_TBN[0] -= alpha * first_BN
        current_TBN[1:] -= alpha * drive_TBN[:-1]
        current_TBN /= 1.0 - alpha
        self.current = max(self.current, current_TBN.abs().max().item())
        if self.layer.dynamics.neuron == "cuba":
            self.voltage = max(self.voltage, -self._lowest(current_TBN, state, output))
        else:
            self.voltage = max(self.voltage, drive_TBN.abs().max().item())
        self.count += output.spikes_TBN.sum(dtype=torch.float64).item()
        spikes_TRM = output.spikes_TBN[:, :visible].to(torch.uint8).numpy()
        kept = self.spikes_RTM[recording : recording + visible, start : start + len(spikes_TRM)]
        kept[:] = spikes_TRM.transpose(1, 0, 2)

    def _lowest(self, current_TBN: torch.Tensor, state: LayerState, output: LayerOutput) -> float:
        """v of a stock LIF; pooling has taken the largest of each window, so there its neurons run once more."""
        dynamics, shape = self.layer.dynamics, self.layer.shape
        potential_TBN = output.potential_TBN
        if shape.pool_size > 1:
            per_channel = self.layer.bias.repeat_interleave(shape.neurons // len(self.layer.bias))
            silent = max(0, min(self.layer.index + 1 - state.steps_done, len(current_TBN)))
            driven_TBN = current_TBN + per_channel
            driven_TBN[:silent] = 0.0
            before = NeuronState(*(values.clone() for values in state.neurons))
            _, potential_TBN, _ = cuba_chunk(driven_TBN, before, dynamics.alpha, dynamics.vth)
        return potential_TBN.min().item() + dynamics.vth


def _require_finite(network: DecolleNetwork) -> None:
    for layer in network:
        for name, values in (("weights", layer.weight), ("biases", layer.bias)):
            wrong = int((~torch.isfinite(values)).sum())
            if wrong:
                raise CompileError(
                    f"layer {layer.index}: {wrong} of {values.numel()} {name} are not finite: training diverged; "
                    f"train again with a lower training.learning_rate"
                )


def _spread_first(count: int, kept: int) -> NDArray[np.int64]:
    """All of 0..count-1, `kept` evenly spread ones first."""
    chosen = np.linspace(0, count - 1, kept).round().astype(np.int64)
    return np.concatenate([chosen, np.setdiff1d(np.arange(count), chosen)])


def _pieces(steps: int, size: int) -> Iterator[tuple[int, int]]:
    for start in range(0, steps, size):
        yield start, min(start + size, steps)
