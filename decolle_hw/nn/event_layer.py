"""A layer driven by events: the same chunk as `DecolleLayer.forward` and `local_gradient`, to rounding.

Work grows with the number of events in place of the number of inputs. It needs chunks of some steps: at the borders of
a chunk, across which weights may have changed, stand two dense products with the traces Q and P of the inputs.
Only float32 on a CPU; `decolle_hw.nn.engine` decides when it pays.
"""

# T steps of a chunk, B batch, I inputs, N neurons of the map, M neurons after pooling, C classes

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray

from decolle_hw.nn.event_conv import conv_backward, conv_forward
from decolle_hw.nn.event_dense import dense_backward, dense_forward, spike_events
from decolle_hw.nn.kernels import ONE, ZERO
from decolle_hw.nn.layer import DecolleLayer, LayerState, LocalGradient
from decolle_hw.nn.neurons import NeuronState, Traces
from decolle_hw.nn.rule import LocalRule, PotentialSums
from decolle_hw.nn.sparse_product import add_gradient, is_sparse, product
from decolle_hw.nn.spikes import Events, Spikes
from decolle_hw.nn.surrogate import SURROGATE_CODES

FloatArray = NDArray[np.float32]
NOTHING = np.zeros((0, 0, 0), np.float32)
NO_WINNERS = np.zeros((1, 1, 1), np.uint8)


@dataclass
class EventState:
    """What a layer carries on: traces of its inputs, and per neuron W Q, W P, R or v, S (channels last).

    W Q and W P hold for the weights with number `version` only.
    """

    traces: Traces
    at_rest: bool  # no input yet: both traces are zero
    wq_BN: FloatArray
    wp_BN: FloatArray
    register_BN: FloatArray
    S_BN: FloatArray
    steps_done: int
    version: int


class EventOutput(NamedTuple):
    """What a layer did in a chunk, with what its gradient needs."""

    spikes: Spikes  # after pooling
    readout_BTC: FloatArray
    potential_BTM: FloatArray  # after pooling, channels last
    winner_BTM: NDArray[np.uint8]
    input_events: Events
    before: FloatArray | None  # (2, B, I) traces P and Q before the chunk; of one step: its own P; None: at rest
    mask_BTM: FloatArray  # dropout, channels last; no rows: none


def can_be_driven(layer: DecolleLayer) -> bool:
    """Whether there are kernels for this layer."""
    shape = layer.shape
    plain_conv = shape.stride == shape.dilation == shape.groups == 1 and shape.padding < shape.kernel_size
    on_cpu = layer.weight.device.type == "cpu" and layer.weight.dtype == torch.float32 and layer.precision is None
    return on_cpu and layer.alpha_I is None and (shape.kind == "dense" or plain_conv)


class EventLayer:
    """The kernels' view of a layer: its weights in their order, and the tables that go with its shape."""

    def __init__(self, layer: DecolleLayer) -> None:
        assert can_be_driven(layer)
        self.layer = layer
        shape, dyn = layer.shape, layer.dynamics
        self.is_conv = shape.kind == "conv"
        self.is_cuba = dyn.neuron == "cuba"
        last = (dyn.vth, 0.0) if self.is_cuba else (dyn.alpharp, (1.0 - dyn.alpharp) * dyn.wrp)
        self.decays = tuple(np.float32(x) for x in (dyn.alpha, 1.0 - dyn.alpha, dyn.beta, 1.0 - dyn.beta, *last))
        self.version = -1
        if self.is_conv:
            channels, self.height, width = shape.map_shape
            self.border = shape.kernel_size - 1 - shape.padding
            self.line = width * channels
            _, rows, columns = shape.input_shape
            i = np.arange(shape.inputs)
            y, x = i // columns % rows, i % columns
            self.place_I = (y * (width + 2 * self.border) + x) * channels
            self.channel_I = i // (rows * columns)
        if not layer.is_output:
            # Fixed, so their order is made once.
            self.readout_MC = layer.readout_weight.T.contiguous().numpy()
            self.feedback_CM = self.channels_last(layer.feedback_weight, shape.output_shape).numpy()

    def use_weights(self, version: int) -> None:
        """Take over the layer's weights as they are; `version` is their number."""
        if version == self.version:
            return
        self.version = version
        if self.is_conv:
            weight = self.layer.weight.flip(2, 3).permute(1, 2, 3, 0)  # input channel, turned kernel, channel
            self.weight = weight.reshape(*weight.shape[:2], -1).contiguous().numpy()
            self.bias = self.layer.bias.repeat(self.layer.shape.map_shape[2]).numpy()
        else:
            self.weight = self.layer.weight.T.numpy()
            self.bias = self.layer.bias.numpy()

    def state(self, plain: LayerState) -> EventState:
        """From the state of the plain path."""
        shape = self.layer.shape.map_shape
        return EventState(
            plain.traces, plain.steps_done == 0,
            *self._products(plain.traces, plain.steps_done == 0),
            self.channels_last(plain.neurons.register_BN, shape).clone().numpy(),
            self.channels_last(plain.neurons.spikes_BN, shape).clone().numpy(),
            plain.steps_done, self.version,
        )  # fmt: skip

    def plain_state(self, state: EventState) -> LayerState:
        """To the state of the plain path."""
        shape = self.layer.shape.map_shape
        register, S = (self.channels_first(torch.from_numpy(x), shape) for x in (state.register_BN, state.S_BN))
        return LayerState(state.traces, NeuronState(register, S), state.steps_done)

    def forward(
        self, spikes: Spikes, state: EventState, mask_TBM: torch.Tensor | None = None
    ) -> tuple[EventOutput, EventState]:
        """A chunk of steps through the layer. The state that goes in may not be used again."""
        layer, shape = self.layer, self.layer.shape
        if spikes.inputs != shape.inputs:
            raise ValueError(f"layer {layer.index} has {shape.inputs} inputs, not {spikes.inputs}")
        events = spikes.events()
        batch, steps = events.batch, events.steps
        decays, valid = self.decays, self.version
        if state.version != self.version:
            if steps == 1 and not self.is_cuba:
                # W of the one step's own P in place of two products, and nothing left to filter.
                state.wq_BN[:] = 0.0
                state.wp_BN = self._product(self._first_trace(state.traces)[None])[0]
                decays, valid = (ONE, ZERO, *decays[2:]), -1
            else:
                state.wq_BN, state.wp_BN = self._products(state.traces, state.at_rest)
        silent = max(0, min(layer.index + 1 - state.steps_done, steps))
        U_BTM = np.empty((batch, steps, shape.outputs), np.float32)
        winner_BTM = np.empty(U_BTM.shape, np.uint8) if shape.pool_size > 1 else NO_WINNERS
        which = (events.indptr, events.index, events.rows, events.first)
        carried = (state.wq_BN, state.wp_BN, state.register_BN, state.S_BN)
        if self.is_conv:
            conv_forward(
                *which, self.place_I, self.channel_I, self.weight, self.bias, self.is_cuba, silent, decays,
                *carried, self.border, self.line, self.height, shape.pool_size, U_BTM, winner_BTM,
            )  # fmt: skip
        else:
            dense_forward(*which, self.weight, self.bias, self.is_cuba, silent, decays, *carried, U_BTM, shape.neurons)
        new_traces = self._trace_end(events, state)
        out = self._spikes(U_BTM)
        mask_BTM = NOTHING
        if mask_TBM is not None:
            mask_BTM = self.channels_last(mask_TBM, shape.output_shape).transpose(0, 1).contiguous().numpy()
        readout_BTC = self._read_out(out, U_BTM, mask_TBM)
        before = None
        if not state.at_rest:
            before = np.stack([state.traces.P_BI.numpy(), state.traces.Q_BI.numpy()])
            if steps == 1:
                before = self._first_trace(state.traces)[None]
        output = EventOutput(out, readout_BTC, U_BTM, winner_BTM, events, before, mask_BTM)
        return output, EventState(new_traces, False, *carried, state.steps_done + steps, valid)

    def local_gradient(
        self, output: EventOutput, target_BC: torch.Tensor, rule: LocalRule, batch: int,
        sums: PotentialSums | None = None,
    ) -> tuple[LocalGradient, int]:  # fmt: skip
        """As `DecolleLayer.local_gradient`."""
        layer, shape = self.layer, self.layer.shape
        signal = rule.teach(torch.from_numpy(output.readout_BTC).transpose(0, 1), target_BC, batch)
        dL_dy_BTC = signal.dL_dy_TBC.transpose(0, 1).contiguous().numpy()
        U_BTM, events = output.potential_BTM, output.input_events
        extra_BTM = NOTHING
        if sums is not None:
            extra = sums.gradient(rule.reg, torch.from_numpy(U_BTM).transpose(0, 1))
            extra_BTM = extra.transpose(0, 1).contiguous().numpy()
        part = len(U_BTM)
        A_BN, A_Q_BN = np.empty((part, shape.neurons), np.float32), np.empty((part, shape.neurons), np.float32)
        which = (events.indptr, events.index, events.rows, events.first)
        surrogate = SURROGATE_CODES[rule.surrogate]
        # One step: its delta goes to its own trace.
        decays = (ONE, ZERO, *self.decays[2:]) if U_BTM.shape[1] == 1 else self.decays
        gradient = np.zeros_like(self.weight)
        if self.is_conv:
            bias_M = np.zeros(shape.outputs, np.float32)
            conv_backward(
                *which, self.place_I, self.channel_I, dL_dy_BTC, self.feedback_CM, extra_BTM, output.mask_BTM,
                surrogate, decays, U_BTM, output.winner_BTM, self.border, self.line, self.height,
                shape.pool_size, A_BN, A_Q_BN, gradient, bias_M,
            )  # fmt: skip
            kernels = torch.from_numpy(gradient).mul_(float(self.decays[3]))
            inputs, size = kernels.shape[:2]
            weight = kernels.view(inputs, size, size, -1).permute(3, 0, 1, 2).flip(2, 3).contiguous()
            bias = torch.from_numpy(bias_M).view(-1, len(layer.bias)).sum(0)
        else:
            bias_N = np.zeros(shape.neurons, np.float32)
            feedback = NOTHING.reshape(0, 0) if layer.is_output else self.feedback_CM
            dense_backward(
                *which, dL_dy_BTC, feedback, extra_BTM, output.mask_BTM, surrogate, layer.is_output, decays,
                U_BTM, A_BN, A_Q_BN, gradient, bias_N, shape.neurons,
            )  # fmt: skip
            weight, bias = torch.from_numpy(gradient).T, torch.from_numpy(bias_N)
        if output.before is not None:
            deltas = np.stack([A_BN, A_Q_BN])[: len(output.before)]
            if not self.is_conv and is_sparse(output.before):
                add_gradient(output.before.reshape(-1, shape.inputs), deltas.reshape(-1, shape.neurons), gradient)
            else:
                deltas_map = self.channels_first(torch.from_numpy(deltas), shape.map_shape)
                weight = weight.add_(layer.product_gradient(torch.from_numpy(output.before), deltas_map))
        return LocalGradient(signal.loss_T, weight, bias), signal.passed

    def channels_last(self, values: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        """The last axis from (channels, height, width) to (height, width, channels)."""
        if not self.is_conv:
            return values.contiguous()
        return values.unflatten(-1, shape).movedim(-3, -1).flatten(-3).contiguous()

    def channels_first(self, values: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        """The inverse of `channels_last`."""
        if not self.is_conv:
            return values
        channels, height, width = shape
        return values.unflatten(-1, (height, width, channels)).movedim(-1, -3).flatten(-3).contiguous()

    def _products(self, traces: Traces, at_rest: bool) -> tuple[FloatArray, FloatArray]:
        """W Q and W P."""
        if at_rest:
            shape = (len(traces.Q_BI), self.layer.shape.neurons)
            return np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        wq, wp = self._product(torch.stack([traces.Q_BI, traces.P_BI]).numpy())
        return wq, wp

    def _product(self, values_KBI: FloatArray) -> FloatArray:
        """(K, B, N) W * x."""
        if not self.is_conv and is_sparse(values_KBI):
            flat = product(values_KBI.reshape(-1, values_KBI.shape[2]), self.weight)
            return flat.reshape(*values_KBI.shape[:2], -1)
        drive = self.layer.product(torch.from_numpy(values_KBI), bias=False)
        return self.channels_last(drive, self.layer.shape.map_shape).numpy()

    def _first_trace(self, traces: Traces) -> FloatArray:
        """(B, I) P of the step that follows: ``alpha P + (1-alpha) Q``."""
        alpha = self.layer.dynamics.alpha
        return (alpha * traces.P_BI + (1.0 - alpha) * traces.Q_BI).numpy()

    def _trace_end(self, events: Events, state: EventState) -> Traces:
        """Traces of the inputs after the chunk."""
        Q_BI, P_BI = state.traces.Q_BI.numpy().copy(), state.traces.P_BI.numpy().copy()
        dyn = self.layer.dynamics
        weights = _trace_weights(dyn.alpha, dyn.beta, events.steps)
        _decay_traces(events.indptr, events.index, events.rows, events.first, weights, Q_BI, P_BI)
        return Traces(torch.from_numpy(Q_BI), torch.from_numpy(P_BI))

    def _spikes(self, U_BTM: FloatArray) -> Spikes:
        """Events of U > 0, their inputs counted channels first, in channels-last order: neighbours in memory are."""
        batch, steps, outputs = U_BTM.shape
        indptr = np.empty(batch * steps + 1, np.int64)
        index = np.empty(U_BTM.size + 1, np.int32)
        count = spike_events(U_BTM, self._names(), indptr, index)
        return Spikes(outputs, events=Events(indptr, index[:count].copy(), steps, 0, steps))

    def _names(self) -> NDArray[np.int32]:
        """(M,) channels-first index of each channels-last place."""
        names = torch.arange(self.layer.shape.outputs, dtype=torch.int32)
        return self.channels_last(names, self.layer.shape.output_shape).numpy()

    def _read_out(self, spikes: Spikes, U_BTM: FloatArray, mask_TBM: torch.Tensor | None) -> FloatArray:
        if self.layer.is_output:
            return U_BTM
        events = spikes.events()
        bias_C = self.layer.readout_bias.numpy()
        readout_BTC = np.empty((*U_BTM.shape[:2], len(bias_C)), np.float32)
        mask = NOTHING if mask_TBM is None else mask_TBM.numpy()
        _sum_readout(events.indptr, events.index, self.readout_MC, bias_C, mask, readout_BTC)
        return readout_BTC


def _trace_weights(alpha: float, beta: float, steps: int) -> FloatArray:
    """(T, 2): what an event k steps before the end adds to Q and P; then (1, 3) of Q0 on Q, Q0 on P, P0 on P."""
    weights = np.zeros((steps + 2, 2))
    Q, P = 1.0 - beta, 0.0
    for k in range(steps):
        weights[k] = Q, P
        P = alpha * P + (1.0 - alpha) * Q
        Q *= beta
    Q, P = 1.0, 0.0
    for _ in range(steps):
        P = alpha * P + (1.0 - alpha) * Q
        Q *= beta
    weights[steps] = Q, P
    weights[steps + 1] = alpha**steps, 0.0
    return weights.astype(np.float32)


@njit(nogil=True, cache=True, error_model="numpy")
def _decay_traces(indptr, index, rows, first, weights, Q_BI, P_BI):
    batch, inputs = Q_BI.shape
    steps = len(weights) - 2
    Q_on_Q, Q_on_P, P_on_P = weights[steps, 0], weights[steps, 1], weights[steps + 1, 0]
    for b in range(batch):
        Q, P = Q_BI[b], P_BI[b]
        for i in range(inputs):
            P[i] = P_on_P * P[i] + Q_on_P * Q[i]
            Q[i] = Q_on_Q * Q[i]
        for t in range(steps):
            row = b * rows + first + t
            on_Q, on_P = weights[steps - 1 - t, 0], weights[steps - 1 - t, 1]
            for e in range(indptr[row], indptr[row + 1]):
                Q[index[e]] += on_Q
                P[index[e]] += on_P


@njit(nogil=True, cache=True, error_model="numpy")
def _sum_readout(indptr, index, readout_MC, bias_C, mask_TBM, readout_BTC):
    batch, steps, classes = readout_BTC.shape
    has_mask = mask_TBM.shape[0] > 0
    for b in range(batch):
        for t in range(steps):
            y = readout_BTC[b, t]
            for c in range(classes):
                y[c] = bias_C[c]
            row = b * steps + t
            for e in range(indptr[row], indptr[row + 1]):
                G = readout_MC[index[e]]
                if has_mask:
                    share = mask_TBM[t, b, index[e]]
                    for c in range(classes):
                        y[c] += share * G[c]
                else:
                    for c in range(classes):
                        y[c] += G[c]
