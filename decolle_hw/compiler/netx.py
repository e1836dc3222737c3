"""What an artifact holds for lava-dl's netx, so that ``lava.lib.dl.netx.hdf5.Network(NAME.net)`` runs it.

A cuba network runs there as it is, and spikes identically. netx knows neither exponents nor sign modes: it takes
plain integer weights, shifts them up to fill the synapse, and Lava infers the sign mode from what it is given. Not
every matrix survives that (below), so a network that would not is refused here instead of running as another one.
Pooling stages are convolutions there as here: netx has no pooling of its own.

A decolle network gets the neuron type DECOLLE, which netx does not know: it stops, where a stock neuron in its place
would run and spike differently. Its weights stand there as stored, with their exponent (wgtExp) beside them. The same
goes, with the type LEARNING, for a layer of stock neurons that learns on chip and whose first weights are none that
netx takes: those of a new output layer are all zero.
"""

# N neurons, I inputs

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiler.layers import ConvLayer, DenseLayer, Layer
from decolle_hw.compiler.program import Program
from decolle_hw.errors import CompileError
from decolle_hw.fixedpoint import BIAS_MANT_MAX, BIAS_MANT_MIN, CURRENT_DECAY_OFFSET

NETX_BIAS_EXP = 6  # lava.lib.dl.netx.hdf5.Network.get_neuron_params gives every CUBA layer this exponent
NETX_MAX_DELAY = 62  # longer ones are clamped by lava.lib.dl.netx.hdf5.Network.create_dense
_REMEDY = "train with network.neuron: decolle, or with other weights"


def netx_entries(program: Program, plastic: Collection[int] = ()) -> dict[str, Any]:
    """Every dataset below ``/layer``, by its path. Layer 0 is the input.

    Args: plastic: layers that learn on chip.
    Raises `CompileError` if netx would run a cuba layer with other weights, biases or delays than it has.
    """
    first = program.layers[0]
    shape = first.input_shape if isinstance(first, ConvLayer) else (program.num_inputs,)
    groups: list[dict[str, Any]] = [{"type": np.bytes_("input"), "shape": np.array(shape)} | _input_entries(program)]
    before: Layer | None = None
    for index, layer in enumerate(program.layers):
        if isinstance(before, ConvLayer) and not isinstance(layer, ConvLayer):
            groups.append({"type": np.bytes_("flatten")})
        groups.append(_learning_entries(layer, index) if index in plastic else _layer_entries(layer, index))
        before = layer
    return {f"layer/{place}/{name}": value for place, group in enumerate(groups) for name, value in group.items()}


def _input_entries(program: Program) -> dict[str, Any]:
    """Of the input block: weight and bias are how a pixel becomes the bias mantissa of its neuron."""
    block = program.input_block
    if block is None:
        return {}
    if block.bias_exp != NETX_BIAS_EXP:
        raise CompileError(f"input block: bias_exp is {block.bias_exp}, netx has no other than {NETX_BIAS_EXP}")
    transform = {"weight": np.array([block.weight]), "bias": np.array([block.bias])}
    return transform | _registers("CUBA", block.du, block.dv, block.vth)


def _layer_entries(layer: Layer, index: int) -> dict[str, Any]:
    return _entries(layer, index) | _neuron_entries(layer)


def _learning_entries(layer: Layer, index: int) -> dict[str, Any]:
    try:
        return _layer_entries(layer, index)
    except CompileError:
        registers = _registers("LEARNING", layer.du, layer.dv, layer.vth)
        return {
            "type": np.bytes_("dense"), "shape": np.array([layer.num_neurons]), "weight": layer.weight,
            "wgtExp": layer.weight_exp, "bias": layer.bias_mant,
        } | registers  # fmt: skip


def _neuron_entries(layer: Layer) -> dict[str, Any]:
    if layer.neuron == "cuba":
        return _registers("CUBA", layer.du, layer.dv, int(layer.vth[0]))
    return _registers("DECOLLE", layer.du, layer.dv, layer.vth)


def _registers(kind: str, du: int, dv: int, vth: Any) -> dict[str, Any]:
    return {
        "neuron/type": np.bytes_(kind),
        "neuron/iDecay": du + CURRENT_DECAY_OFFSET,  # netx subtracts it again
        "neuron/vDecay": dv,
        "neuron/vThMant": vth,
        "neuron/refDelay": 1,
        "neuron/gradedSpike": False,
    }


def _entries(layer: Layer, index: int) -> dict[str, Any]:
    """The synapse, and the bias, which in netx belongs to it."""
    if isinstance(layer, ConvLayer):
        entries = _conv_entries(layer)
    else:
        assert isinstance(layer, DenseLayer)
        entries = _dense_entries(layer, index)
    if layer.neuron == "cuba":
        mantissa = _bias_mantissa(layer, index)
        entries["bias"] = _by_place(layer, mantissa) if isinstance(layer, ConvLayer) else mantissa
    return entries


def _dense_entries(layer: DenseLayer, index: int) -> dict[str, Any]:
    entries: dict[str, Any] = {"type": np.bytes_("dense"), "shape": np.array([layer.num_neurons])}
    if layer.neuron == "cuba":
        entries["weight"] = _plain_weight(layer, index)
    else:
        entries |= {"weight": layer.weight, "wgtExp": layer.weight_exp}
    if layer.max_delay:
        if layer.neuron == "cuba" and layer.max_delay > NETX_MAX_DELAY:
            raise CompileError(
                f"layer {index}: a delay of {layer.max_delay} steps would become {NETX_MAX_DELAY} in netx; "
                f"use delays of at most {NETX_MAX_DELAY}"
            )
        entries["delay"] = layer.delay
    return entries


def _conv_entries(layer: ConvLayer) -> dict[str, Any]:
    """Lava's `Conv` takes any integer as it is: no exponent, no sign mode."""
    weight, groups = layer.in_lava()
    return {
        "type": np.bytes_("conv"),
        "shape": np.array(layer.map_shape),
        "inFeatures": layer.input_shape[0],
        "outFeatures": layer.map_shape[0],
        "kernelSize": np.array(layer.kernel_sizes),  # y before x, all of them
        "stride": np.array(layer.strides),
        "padding": np.array(layer.paddings),
        "dilation": np.array(layer.dilations),
        "groups": groups,
        "weight": weight,
    }


def _by_place(layer: ConvLayer, mantissa_N: NDArray[np.int32]) -> NDArray[np.int32]:
    """One bias per channel where its neurons share it, else one per neuron in netx's order (x, y, channel)."""
    maps = mantissa_N.reshape(layer.map_shape)
    if np.all(maps == maps[:, :1, :1]):
        return np.ascontiguousarray(maps[:, 0, 0])
    return np.ascontiguousarray(maps.transpose(2, 1, 0))


def as_netx_runs_it(weight: NDArray[np.int32]) -> tuple[NDArray[np.int32], int]:
    """(weights in the synapse, weight exponent) that come of plain integers `weight` in netx on Lava.

    Weights are shifted up until the synapse is full and cut to as many bits as they need, for the sign mode that
    netx sees; then Lava clips and cuts them once more for the one that it sees. The two differ for matrices that
    reach up to zero, and the shift fills inhibitory synapses with -256, which Lava clips to -255.
    Source: ``lava.lib.dl.netx.utils.optimize_weight_bits``, ``lava.utils.weightutils.{clip,truncate}_weights``.
    """
    highest, lowest = int(weight.max()), int(weight.min())
    mixed = highest >= 0 > lowest
    if mixed:
        room = min(127 / highest if highest else np.inf, -128 / lowest)
    else:
        room = -256 / lowest if highest < 0 else 255 / highest
    shift = int(np.floor(np.log2(room))) + mixed
    low_zeros = max(n for n in range(9) if not np.any(weight & ((1 << n) - 1)))
    bits = 8 - shift - (low_zeros - mixed)
    stored = weight << shift
    if highest > 0 > lowest:
        stored, cut, sign = np.clip(stored, -256, 255), 8 - bits + 1, 1
    else:
        sign = 1 if lowest >= 0 else -1
        stored, cut = np.clip(sign * stored, 0, 255), 8 - bits
    return sign * (stored >> cut << cut), -shift


def _plain_weight(layer: DenseLayer, index: int) -> NDArray[np.int32]:
    plain = layer.plain_weight
    if layer.weight_exp > 0 or np.any(plain << -layer.weight_exp != layer.weight):
        raise CompileError(
            f"layer {index}: weight_exp {layer.weight_exp} does not leave plain integers of 8 bits, "
            f"which is all that netx can express; {_REMEDY}"
        )
    if not np.any(plain):
        raise CompileError(f"layer {index}: all weights are zero, which netx cannot load; {_REMEDY}")
    stored, exponent = as_netx_runs_it(plain)
    changed = stored != plain << -exponent
    if np.any(changed):
        neuron, source = (int(i) for i in np.argwhere(changed)[0])
        raise CompileError(
            f"layer {index}: weight {plain[neuron, source]} of neuron {neuron}, input {source} would become "
            f"{stored[neuron, source] / 2.0**-exponent:g} in netx, as no weight of the layer is positive; {_REMEDY}"
        )
    return plain


def _bias_mantissa(layer: Layer, index: int) -> NDArray[np.int32]:
    mantissa = layer.bias >> NETX_BIAS_EXP
    fits = mantissa.min() >= BIAS_MANT_MIN and mantissa.max() <= BIAS_MANT_MAX
    if not fits or np.any(mantissa << NETX_BIAS_EXP != layer.bias):
        raise CompileError(
            f"layer {index}: bias_exp {layer.bias_exp} cannot become {NETX_BIAS_EXP}, the only one that netx has; "
            "use multiples of 64"
        )
    return mantissa
