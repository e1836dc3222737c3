"""The integer reference, a few steps at a time: a stream that goes on, in place of recordings that end.

    spikes_KI, state -> spikes_KN of every layer, state

Whatever the pieces are, together they equal `decolle_hw.sim.reference.run_reference` on the same steps as one long
recording, bit for bit. A stream leaves the reset state once, at its first step; a new state is a reset.
"""

# K steps, I inputs, N neurons, D longest delay

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiler.layers import ConvLayer, DenseLayer, Layer
from decolle_hw.compiler.program import Program
from decolle_hw.errors import UsageError
from decolle_hw.sim.reference import channels_last, kernel_arrays, whole_words
from decolle_hw.sim.stepping_kernels import conv_sums, delayed_sums, dense_sums, neuron_steps
from decolle_hw.sim.trace import register_names


@dataclass(frozen=True)
class LayerState:
    """What a layer keeps from one step to the next; a map channels-last."""

    arrived_I: NDArray[np.uint8]  # input of the last step; a pooling stage needs none of it
    spike_N: NDArray[np.uint8]  # of the last step
    u_N: NDArray[np.int32]
    v_N: NDArray[np.int32]
    r_N: NDArray[np.int32]
    ring_DN: NDArray[np.int64]  # sums on their way, of a layer with delays; its place 0 is that of step 0

    def copy(self) -> LayerState:
        """One that may be changed in place."""
        return LayerState(*(getattr(self, name).copy() for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class StreamState:
    """The whole network between two steps."""

    step: int  # steps made since the reset
    layers: tuple[LayerState, ...]


class Stepper:
    """A compiled network with its weights in the order in which the kernels read them; holds no state.

    Raises `UsageError` for a network with an input block, whose input is an image and does not go on in time.
    """

    def __init__(self, program: Program) -> None:
        if program.input_block is not None:
            raise UsageError(
                f"{program.name}: takes still images, which are no stream of events; run it without --stream"
            )
        self.program = program
        self._layers = tuple(_Plan(layer, program.first_step(index)) for index, layer in enumerate(program.layers))

    def reset_state(self) -> StreamState:
        """Of the first step of a recording."""
        return StreamState(0, tuple(plan.reset_state() for plan in self._layers))

    def step(
        self, spikes_KI: NDArray[np.uint8], state: StreamState
    ) -> tuple[tuple[NDArray[np.uint8], ...], StreamState]:
        """The next K steps, in the float network's time: (K, N) spikes of every layer, and the state after them.

        Args: spikes_KI: (K, I) of 0 and 1. The state given stays as it is.
        Raises ValueError if the input is not binary or does not fit the network.
        """
        if spikes_KI.ndim != 2 or spikes_KI.shape[1] != self.program.num_inputs:
            raise ValueError(f"expected (K, {self.program.num_inputs}) spikes, got {spikes_KI.shape}")
        if spikes_KI.size and (spikes_KI.min() < 0 or spikes_KI.max() > 1):
            raise ValueError(f"spikes are 0 or 1, got {spikes_KI.min()}..{spikes_KI.max()}")
        spikes, states = [], []
        arriving_KI = np.asarray(spikes_KI, np.uint8)
        for plan, before in zip(self._layers, state.layers, strict=True):
            arriving_KI, after = plan.step(arriving_KI, before, state.step)
            spikes.append(arriving_KI)
            states.append(after)
        return tuple(spikes), StreamState(state.step + len(spikes_KI), tuple(states))

    def registers(self, state: StreamState, layer: int) -> dict[str, NDArray[np.int32]]:
        """(N,) u, v and (decolle) r of a layer after the last step, neurons in their usual order."""
        plan, of_layer = self._layers[layer], state.layers[layer]
        names = register_names(self.program.layers[layer])
        return {name: plan.usual_order(getattr(of_layer, f"{name}_N")).copy() for name in names}


class _Plan:
    """One layer: its arrays as the kernels take them."""

    def __init__(self, layer: Layer, first: int) -> None:
        self.layer, self.first = layer, first
        self.neurons = layer.num_neurons
        self.registers = (layer.neuron == "decolle", layer.du, layer.dv, layer.dr, layer.rho)
        self.channels, self.weight_exp, self.places = 1, 0, 0
        self.arrays: tuple[Any, ...]
        if isinstance(layer, ConvLayer):
            self.channels = layer.map_shape[0]
            self.arrays = kernel_arrays(layer)
        else:
            assert isinstance(layer, DenseLayer)
            self.arrays = (np.ascontiguousarray(layer.weight.T, dtype=np.int16),)
            if layer.max_delay:
                self.places = layer.max_delay + 1
                delay_IN = np.ascontiguousarray(layer.delay.T, dtype=np.uint8)
                self.arrays = (*self.arrays, delay_IN, layer.weight_exp)
            else:
                self.weight_exp = layer.weight_exp
        self.vth_N = channels_last(layer.vth, self.channels)
        self.bias_N = channels_last(layer.bias, self.channels)

    def reset_state(self) -> LayerState:
        n = self.neurons
        u_N, v_N, r_N = (np.zeros(n, np.int32) for _ in "uvr")
        ring_DN = np.zeros((self.places, n), np.int64)
        return LayerState(np.zeros(self.layer.num_inputs, np.uint8), np.zeros(n, np.uint8), u_N, v_N, r_N, ring_DN)

    def step(self, spikes_KI: NDArray[np.uint8], before: LayerState, step: int) -> tuple[NDArray[np.uint8], LayerState]:
        """`Stepper.step` of this layer; `step`: the number of the first of them."""
        out_KN = np.zeros((len(spikes_KI), self.neurons), np.uint8)
        if not len(spikes_KI):
            return out_KN, before
        state = before.copy()
        arriving_KI = spikes_KI
        if not self.layer.is_pooling:
            arriving_KI = np.concatenate([before.arrived_I[None], spikes_KI[:-1]])
        state.arrived_I[:] = spikes_KI[-1]
        skipped = min(max(0, self.first - step), len(spikes_KI))  # in these the layer holds its reset state
        begun_KN = np.zeros((len(spikes_KI) - skipped, self.neurons), np.uint8)
        sums_KN = self._sums(arriving_KI[skipped:], state, step + skipped)
        neuron_steps(
            sums_KN, self.weight_exp, self.registers, self.vth_N, self.bias_N,
            state.spike_N, state.u_N, state.v_N, state.r_N, begun_KN,
        )  # fmt: skip
        out_KN[skipped:] = self.usual_order(begun_KN)
        return out_KN, state

    def _sums(self, arriving_KI: NDArray[np.uint8], state: LayerState, start: int) -> NDArray[np.int32]:
        words_KI = whole_words(arriving_KI[None])[0]
        sums_KN = np.empty((len(words_KI), self.neurons), np.int32)
        if isinstance(self.layer, ConvLayer):
            conv_sums(words_KI, sums_KN, *self.arrays)
        elif self.places:
            delayed_sums(words_KI, sums_KN, start, state.ring_DN, *self.arrays)
        else:
            dense_sums(words_KI, sums_KN, *self.arrays)
        return sums_KN

    def usual_order(self, values_N: NDArray[Any]) -> NDArray[Any]:
        """(..., H*W*C) to (..., C*H*W)."""
        if self.channels == 1:
            return values_N
        by_place = values_N.reshape(*values_N.shape[:-1], self.neurons // self.channels, self.channels)
        return np.swapaxes(by_place, -1, -2).reshape(values_N.shape)
