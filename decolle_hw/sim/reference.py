"""The integer reference simulator: the definition of the chip's arithmetic, for whole batches."""

# R recordings, T steps, I inputs, N neurons

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiler.input_block import InputBlock
from decolle_hw.compiler.layers import ConvLayer, DenseLayer, Layer
from decolle_hw.compiler.program import Program
from decolle_hw.sim.conv_kernels import conv_layer, pooling_layer
from decolle_hw.sim.kernels import biased_neurons, delayed_layer, dense_layer
from decolle_hw.sim.trace import LayerTrace, Trace, is_recorded, register_names


def run_reference(program: Program, recordings: NDArray[Any], *, record: bool = False) -> Trace:
    """Run recordings through a compiled network, each from the reset state.

    Args:
        program: the compiled network.
        recordings: binary input, (R, T, I); of a network with an input block, its bias mantissas, (R, I).
        record: keep u, v (and r) of every neuron at every step as well as the spikes.

    Raises: ValueError if the input is not binary or does not fit the network.
    Memory: R*T*N bytes per layer, 9 or 13 times that with `record`.
    """
    program.check_input(recordings)
    block = None
    spikes_RTI = recordings
    if program.input_block is not None:
        block = run_input_block(program.input_block, recordings, program.steps, record=record)
        spikes_RTI = block.spikes
    layers = []
    for index, layer in enumerate(program.layers):
        recorded = is_recorded(program, index, record)
        trace = run_layer(layer, spikes_RTI, first=program.first_step(index), record=recorded)
        layers.append(trace)
        spikes_RTI = trace.spikes
    return Trace(tuple(layers), block)


def run_input_block(block: InputBlock, mantissa_RI: NDArray[Any], steps: int, *, record: bool = False) -> LayerTrace:
    """What the neurons of an input block make of (R, I) biases in so many steps."""
    shape = (len(mantissa_RI), steps, mantissa_RI.shape[1])
    spikes = np.zeros(shape, np.uint8)
    u, v = (np.zeros(shape if record else (0, 0, 0), np.int32) for _ in "uv")
    bias_RI = np.ascontiguousarray(mantissa_RI, np.int32) << block.bias_exp
    vth_I = np.full(mantissa_RI.shape[1], block.vth, np.int32)
    biased_neurons(bias_RI, block.du, block.dv, vth_I, record, spikes, u, v)
    return LayerTrace(spikes, {"u": u, "v": v} if record else {})


def run_layer(layer: Layer, spikes_RTI: NDArray[np.uint8], *, first: int, record: bool) -> LayerTrace:
    """One layer, zero until step `first`. See `run_reference`."""
    shape = (*spikes_RTI.shape[:2], layer.num_neurons)
    spikes = np.zeros(shape, np.uint8)
    out = {name: np.zeros(shape if record and name in register_names(layer) else (0, 0, 0), np.int32) for name in "uvr"}
    registers = (layer.neuron == "decolle", layer.du, layer.dv, layer.dr, layer.rho)
    words_RTI = whole_words(spikes_RTI)
    common = (registers, first, record, spikes, out["u"], out["v"], out["r"])
    if isinstance(layer, ConvLayer):
        (_run_pooling if layer.is_pooling else _run_convolution)(layer, words_RTI, common)
    else:
        assert isinstance(layer, DenseLayer)
        weight_IN = np.ascontiguousarray(layer.weight.T, dtype=np.int16)
        if layer.max_delay:
            delay_IN = np.ascontiguousarray(layer.delay.T, dtype=np.uint8)
            delayed_layer(words_RTI, weight_IN, delay_IN, layer.weight_exp, layer.vth, layer.bias, *common)
        else:
            dense_layer(words_RTI, weight_IN, layer.weight_exp, layer.vth, layer.bias, *common)
    return LayerTrace(spikes, {name: out[name] for name in register_names(layer)} if record else {})


def _run_convolution(layer: ConvLayer, words_RTI: NDArray[np.uint8], common: tuple[Any, ...]) -> None:
    neurons = (channels_last(values_N, layer.map_shape[0]) for values_N in (layer.vth, layer.bias))
    conv_layer(words_RTI, *kernel_arrays(layer), *neurons, *common)


def kernel_arrays(layer: ConvLayer) -> tuple[Any, ...]:
    """place_I3, weight_cKKC, mirrored_cKX, geometry and map_shape, as `conv_kernels.conv_layer` takes them."""
    geometry = (*layer.strides, *layer.paddings, *layer.dilations, layer.groups)
    channels_in, channels, groups = layer.input_shape[0], layer.map_shape[0], layer.groups
    rows, columns = layer.kernel_sizes
    # (channels, c/groups, K, K) -> (c, K, K, channels/groups)
    grouped = layer.plain_weight.reshape(groups, channels // groups, channels_in // groups, rows, columns)
    weight_cKKC = grouped.transpose(0, 2, 3, 4, 1).reshape(channels_in, rows, columns, channels // groups)
    weight_cKKC = np.ascontiguousarray(weight_cKKC, dtype=np.int16)
    mirrored_cKX = np.zeros((0, 0, 0), np.int16)
    if layer.stride == layer.dilation == layer.groups == 1:
        mirrored_cKX = np.ascontiguousarray(weight_cKKC[:, :, ::-1]).reshape(channels_in, rows, columns * channels)
    place_I3 = np.stack(np.unravel_index(np.arange(layer.num_inputs), layer.input_shape), 1)
    return np.ascontiguousarray(place_I3), weight_cKKC, mirrored_cKX, geometry, layer.map_shape


def _run_pooling(layer: ConvLayer, words_RTI: NDArray[np.uint8], common: tuple[Any, ...]) -> None:
    _, first, record, spikes, out_u, out_v, _ = common
    channel, y, x = np.unravel_index(np.arange(layer.num_inputs), layer.input_shape)
    _, height, width = layer.map_shape
    row, column = y // layer.kernel_size, x // layer.kernel_size
    seen = (row < height) & (column < width)
    window_I = np.where(seen, (channel * height + row) * width + column, layer.num_neurons)
    pooling_layer(
        words_RTI, window_I, int(layer.plain_weight.flat[0]), layer.du, layer.dv, layer.vth, layer.bias,
        first, record, spikes, out_u, out_v,
    )  # fmt: skip


def channels_last(values_N: NDArray[np.int32], channels: int) -> NDArray[np.int32]:
    """(C*H*W) of a map to (H*W*C)."""
    return np.ascontiguousarray(values_N.reshape(channels, -1).T).reshape(-1)


def whole_words(spikes_RTI: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Contiguous, with silent inputs added up to a multiple of 8: the kernels look at 64 bits at once."""
    missing = -spikes_RTI.shape[2] % 8
    padded = np.pad(spikes_RTI, ((0, 0), (0, 0), (0, missing))) if missing else spikes_RTI
    return np.ascontiguousarray(padded, dtype=np.uint8)
