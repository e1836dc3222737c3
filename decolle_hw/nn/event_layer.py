"""A layer driven by events: the same chunk as `DecolleLayer.forward` and `local_gradient`, to rounding.

Work grows with the number of events in place of the number of inputs. It needs chunks of some steps: at the borders of
a chunk, across which weights may have changed, stand two dense products with the traces Q and P of the inputs.
Only float32 on a CPU; `decolle_hw.nn.engine` decides when it pays.
"""

# T steps of a chunk, B batch, I inputs, N neurons of the map, M neurons after pooling, C classes

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from decolle_hw.nn.event_conv import conv_backward, conv_forward
from decolle_hw.nn.event_dense import dense_backward, dense_forward, spike_events
from decolle_hw.nn.event_traces import decay_traces, sum_readout, trace_weights
from decolle_hw.nn.factors import Factors
from decolle_hw.nn.kernels import ONE, ZERO
from decolle_hw.nn.layer import DecolleLayer, LayerState, LocalGradient
from decolle_hw.nn.neurons import NeuronState, Traces
from decolle_hw.nn.rule import LocalRule, PotentialSums
from decolle_hw.nn.sparse_product import add_gradient, is_sparse, product
from decolle_hw.nn.spikes import Events, Spikes
from decolle_hw.nn.surrogate import SURROGATE_CODES

FloatArray = NDArray[np.float32]
Share = Callable[[Callable[[Any], Any], Iterable[Any]], list[Any]]
NOTHING = np.zeros((0, 0, 0), np.float32)
LARGEST_FACTOR = 1 << 21  # bytes of filtered deltas: more would leave the cache before they are used
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


def serial(function: Callable[[Any], Any], arguments: Iterable[Any]) -> list[Any]:
    """No other thread: one call after the other."""
    return [function(argument) for argument in arguments]


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
        self.share: Share = serial
        if self.is_conv:
            channels, self.height, width = shape.map_shape
            self.border = shape.kernel_size - 1 - shape.padding
            self.line = width * channels
            _, rows, columns = shape.input_shape
            i = np.arange(shape.inputs)
            y, x = i // columns % rows, i % columns
            self.place_I = (y * (width + 2 * self.border) + x) * channels
            self.channel_I = i // (rows * columns)
        # Channels-first index of each channels-last place.
        self.name_M = self.channels_last(torch.arange(shape.outputs, dtype=torch.int32), shape.output_shape).numpy()
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
        at_rest = plain.steps_done == 0
        zeros = np.zeros((2, len(plain.traces.Q_BI), self.layer.shape.neurons), np.float32)
        products = zeros if at_rest else self._product(torch.stack(list(plain.traces)).numpy())
        return EventState(
            Traces(plain.traces.Q_BI.clone(), plain.traces.P_BI.clone()), at_rest, products[0], products[1],
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
        must_multiply = state.version != self.version and not state.at_rest
        if steps == 1:
            if must_multiply and self.is_cuba:
                state.wq_BN = self._product(state.traces.Q_BI.numpy()[None])[0]
            # The trace that the one step's delta meets is the one after it: S reaches P a step later.
            before = None if state.at_rest else state.traces.P_BI.numpy()[None]
            new_traces = self._trace_end(events, state)
            if must_multiply and not self.is_cuba and before is not None:
                # W of the step's own P in place of two products, and nothing left to filter.
                state.wp_BN = self._product(before)[0]
                decays, valid = (ONE, ZERO, *decays[2:]), -1
        else:
            before = None if state.at_rest else torch.stack([state.traces.P_BI, state.traces.Q_BI]).numpy()
            if must_multiply and before is not None:
                state.wp_BN, state.wq_BN = self._product(before)
            new_traces = self._trace_end(events, state)
        silent = max(0, min(layer.index + 1 - state.steps_done, steps))
        U_BTM = np.empty((batch, steps, shape.outputs), np.float32)
        winner_BTM = np.empty(U_BTM.shape, np.uint8) if shape.pool_size > 1 else NO_WINNERS
        # Of a last step before other weights, nobody asks for W S.
        which = events.arrays() if valid >= 0 else (np.zeros(batch * steps + 1, np.int64), events.index, steps, 0)
        carried = (state.wq_BN, state.wp_BN, state.register_BN, state.S_BN)
        if self.is_conv:
            conv_forward(
                *which, self.place_I, self.channel_I, self.weight, self.bias, self.is_cuba, silent, decays,
                *carried, self.border, self.line, self.height, shape.pool_size, U_BTM, winner_BTM,
            )  # fmt: skip
        else:
            dense_forward(*which, self.weight, self.bias, self.is_cuba, silent, decays, *carried, U_BTM)
        out = self._spikes(U_BTM)
        mask_BTM = NOTHING
        if mask_TBM is not None:
            mask_BTM = self.channels_last(mask_TBM, shape.output_shape).transpose(0, 1).contiguous().numpy()
        readout_BTC = self._read_out(out, U_BTM, mask_TBM)
        output = EventOutput(out, readout_BTC, U_BTM, winner_BTM, events, before, mask_BTM)
        return output, EventState(new_traces, False, *carried, state.steps_done + steps, valid)

    def local_gradient(
        self, output: EventOutput, target_BC: torch.Tensor, rule: LocalRule, batch: int,
        sums: PotentialSums | None = None, *, may_factor: bool = False,
    ) -> tuple[LocalGradient, int]:  # fmt: skip
        """As `DecolleLayer.local_gradient`; with `may_factor` the weights' part may be `Factors`."""
        signal = rule.teach(torch.from_numpy(output.readout_BTC).transpose(0, 1), target_BC, batch)
        extra_BTM = NOTHING
        if sums is not None:
            extra = sums.gradient(rule.reg, torch.from_numpy(output.potential_BTM).transpose(0, 1))
            extra_BTM = extra.transpose(0, 1).contiguous().numpy()
        dL_dy_BTC = signal.dL_dy_TBC.transpose(0, 1).contiguous().numpy()
        teaching = (dL_dy_BTC, extra_BTM, SURROGATE_CODES[rule.surrogate])
        if self.is_conv:
            return LocalGradient(signal.loss_T, *self._conv_gradient(output, *teaching)), signal.passed
        return LocalGradient(signal.loss_T, *self._dense_gradient(output, *teaching, may_factor)), signal.passed

    def _conv_gradient(
        self, output: EventOutput, dL_dy_BTC: FloatArray, extra_BTM: FloatArray, surrogate: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        layer, shape, U_BTM = self.layer, self.layer.shape, output.potential_BTM
        deltas_KBN = np.empty((2, len(U_BTM), shape.neurons), np.float32)
        gradient = np.zeros_like(self.weight)
        bias_M = np.zeros(shape.outputs, np.float32)
        conv_backward(
            *output.input_events.arrays(), self.place_I, self.channel_I, dL_dy_BTC, self.feedback_CM, extra_BTM,
            output.mask_BTM, surrogate, self._backward_decays(output), U_BTM, output.winner_BTM, self.border,
            self.line, self.height, shape.pool_size, deltas_KBN[0], deltas_KBN[1], gradient, bias_M,
        )  # fmt: skip
        kernels = torch.from_numpy(gradient).mul_(float(self.decays[3]))
        inputs, size = kernels.shape[:2]
        weight = kernels.view(inputs, size, size, -1).permute(3, 0, 1, 2).flip(2, 3).contiguous()
        if output.before is not None:
            deltas = self.channels_first(torch.from_numpy(deltas_KBN[: len(output.before)]), shape.map_shape)
            weight = weight.add_(layer.product_gradient(torch.from_numpy(output.before), deltas))
        return weight, torch.from_numpy(bias_M).view(-1, len(layer.bias)).sum(0)

    def _dense_gradient(
        self, output: EventOutput, dL_dy_BTC: FloatArray, extra_BTM: FloatArray, surrogate: int, may_factor: bool
    ) -> tuple[torch.Tensor | Factors, torch.Tensor]:
        layer, shape, U_BTM = self.layer, self.layer.shape, output.potential_BTM
        part, steps, units = U_BTM.shape
        deltas_KBN = np.empty((2, part, units), np.float32)
        before = output.before
        sparse = before is None or is_sparse(before)
        factored = may_factor and U_BTM.nbytes <= LARGEST_FACTOR
        gradient = np.zeros_like(self.weight) if not factored else self.weight  # only its shape is looked at
        D_BTN = np.empty((part, steps, units) if factored and steps > 1 else (0, 0, 0), np.float32)
        bias_N = np.zeros(units, np.float32)
        feedback = NOTHING.reshape(0, 0) if layer.is_output else self.feedback_CM
        dense_backward(
            *output.input_events.arrays(), dL_dy_BTC, feedback, extra_BTM, output.mask_BTM, surrogate,
            layer.is_output, self._backward_decays(output), U_BTM, deltas_KBN[0], deltas_KBN[1], D_BTN, gradient,
            bias_N,
        )  # fmt: skip
        bias = torch.from_numpy(bias_N)
        values = np.zeros((0, part, shape.inputs), np.float32) if before is None else before
        deltas = deltas_KBN[: len(values)]
        flat = values.reshape(-1, shape.inputs), deltas.reshape(-1, units)
        if factored:
            return Factors.of(*flat, output.input_events, D_BTN.reshape(-1, units)), bias
        weight = torch.from_numpy(gradient).T
        if sparse:
            add_gradient(*flat, gradient)
        else:
            weight = weight.add_(layer.product_gradient(torch.from_numpy(values), torch.from_numpy(deltas)))
        return weight, bias

    def _backward_decays(self, output: EventOutput) -> tuple[np.float32, ...]:
        """Of one step, whose delta goes to its own trace, or of several."""
        return (ONE, ZERO, *self.decays[2:]) if output.potential_BTM.shape[1] == 1 else self.decays

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

    def _product(self, values_KBI: FloatArray) -> FloatArray:
        """(K, B, N) W * x."""
        if not self.is_conv and is_sparse(values_KBI):
            flat = product(values_KBI.reshape(-1, values_KBI.shape[2]), self.weight)
            return flat.reshape(*values_KBI.shape[:2], -1)
        if not self.is_conv:
            flat = values_KBI.reshape(-1, values_KBI.shape[2])
            out = np.empty((len(flat), self.layer.shape.neurons), np.float32)
            halves = (slice(0, out.shape[1] // 2), slice(out.shape[1] // 2, None))

            def multiply(part: slice) -> None:
                torch.mm(*map(torch.from_numpy, (flat, self.weight[:, part])), out=torch.from_numpy(out[:, part]))

            self.share(multiply, halves)
            return out.reshape(*values_KBI.shape[:2], -1)
        drive = self.layer.product(torch.from_numpy(values_KBI), bias=False)
        return self.channels_last(drive, self.layer.shape.map_shape).numpy()

    def _trace_end(self, events: Events, state: EventState) -> Traces:
        """Traces of the inputs after the chunk, in the memory of those before."""
        dyn = self.layer.dynamics
        weights = trace_weights(dyn.alpha, dyn.beta, events.steps)
        Q_BI, P_BI = state.traces
        decay_traces(events.indptr, events.index, events.rows, events.first, weights, Q_BI.numpy(), P_BI.numpy())
        return state.traces

    def _spikes(self, U_BTM: FloatArray) -> Spikes:
        """Events of U > 0, their inputs counted channels first, in channels-last order: neighbours in memory are."""
        batch, steps, outputs = U_BTM.shape
        indptr = np.empty(batch * steps + 1, np.int64)
        index = np.empty(U_BTM.size + 1, np.int32)
        count = spike_events(U_BTM, self.name_M, indptr, index)
        return Spikes(outputs, events=Events(indptr, index[:count].copy(), steps, 0, steps))

    def _read_out(self, spikes: Spikes, U_BTM: FloatArray, mask_TBM: torch.Tensor | None) -> FloatArray:
        if self.layer.is_output:
            return U_BTM
        events = spikes.events()
        bias_C = self.layer.readout_bias.numpy()
        readout_BTC = np.empty((*U_BTM.shape[:2], len(bias_C)), np.float32)
        mask = NOTHING if mask_TBM is None else mask_TBM.numpy()
        sum_readout(events.indptr, events.index, self.readout_MC, bias_C, mask, readout_BTC)
        return readout_BTC
