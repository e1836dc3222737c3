"""What a network has learned on chip, as a training run of the front end: floats again.

A weight is ``stored * 2**weight_exp / weight_scale``. Layers that did not learn keep the floats of the run that was
compiled. A new output layer, and the centring layer below it, become dense layers (the last of Mhid), the output with
the identity as its readout; the others read out the new classes as well then, with a row of zeros for each that they
did not know.
"""

# N neurons, I inputs, C classes, M neurons after pooling

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from decolle_hw.compiler.layers import Layer
from decolle_hw.compiler.learning_program import LearningProgram
from decolle_hw.compiler.program import Program
from decolle_hw.compiling.plastic import neuron_layers
from decolle_hw.fixedpoint import ALIGN_SHIFT, CURRENT_DECAY_OFFSET, DECAY_UNITY, VOLTAGE_DECAY_OFFSET, realised_factor
from decolle_hw.learning.shown import Recordings
from decolle_hw.nn.network import DecolleNetwork
from decolle_hw.sim.learning_state import LearningState
from decolle_hw.spec import ModelSpec, model_spec_from_yaml, parse_model_spec
from decolle_hw.training.learner import Learner
from decolle_hw.training.runs import Run
from decolle_hw.training.write_run import write_run
from decolle_hw.workflow import has_output_layer

# Of an output layer whose scale is nobody's choice: its largest weight becomes 1.
LARGEST_WEIGHT = 256
SMALLEST_VTH = 1e-6
TRAINING_KEYS = ("loss", "learning_rate", "reg_l", "error_threshold")  # that may have a value per layer


def save_as_run(folder: Path, learning: LearningProgram, state: LearningState, run: Run, recordings: Recordings) -> Run:
    """Write a run folder that `evaluate` and `compile` take, with its accuracy on the test recordings.

    Args:
        folder: does not exist yet.
        state: of one run. run: what the network was compiled from.
        recordings: what it learned, and what it is tested on (where there is nothing, what it learned).

    Raises `UsageError` where the folder cannot be written.
    """
    spec = _description(learning, run)
    network = DecolleNetwork(spec, len(learning.program.classes), torch.Generator())
    network.load_state_dict(_weights(learning, state, run, network))
    tested = recordings.tested or recordings.shown
    result = Learner(network, spec.training, torch.device("cpu")).evaluate(tested)
    return write_run(folder, spec, learning.program.classes, network, result, len(recordings.shown), 0.0)


def first_new_layer(program: Program) -> int:
    """How many layers of the float network are left below those that were made on chip; all of them if none was.

    These are the centring layer, whose matrix is diagonal as no trained one is, and the output layer.
    """
    layers = [layer for layer in program.layers if not layer.is_pooling]
    if not has_output_layer(program):
        return len(layers)
    diagonal = (index for index, layer in enumerate(layers) if _is_diagonal(layer.weight))
    return next(diagonal, len(layers) - 1)


def _is_diagonal(weight: NDArray[np.int32]) -> bool:
    square = weight.ndim == 2 and weight.shape[0] == weight.shape[1]
    return square and bool(np.any(weight)) and np.array_equal(weight, np.diag(np.diag(weight)))


def _description(learning: LearningProgram, run: Run) -> ModelSpec:
    program = learning.program
    on_chip = model_spec_from_yaml(program.spec_yaml, f"description inside {program.name}.net").on_chip
    values = run.spec.model_copy(update={"on_chip": on_chip}).model_dump()
    places, kept = neuron_layers(program), first_new_layer(program)
    new = places[kept:]
    if not new:
        return parse_model_spec(values, str(run.folder))
    network, of_layers = values["network"], run.spec.network.of_layers
    dynamics = [_dynamics(program.layers[index], _scale(learning, index)) for index in new]
    for key in dynamics[0]:
        network[key] = of_layers(key)[:kept] + [each[key] for each in dynamics]
    network["dropout"] = of_layers("dropout")[:kept] + [0.0] * len(new)
    network["lc_ampl"] = of_layers("lc_ampl")[:kept] + [of_layers("lc_ampl")[-1]] * len(new)
    for key in TRAINING_KEYS:
        if isinstance(values["training"][key], list) and len(values["training"][key]) > 1:
            own = values["training"][key][:kept]
            values["training"][key] = own + own[-1:] * len(new)
    convolutions = len(network["Nhid"])
    network["Mhid"] = network["Mhid"][: kept - convolutions] + [program.layers[index].num_neurons for index in new]
    if program.classes != run.classes:
        values["dataset"]["classes"] = list(program.classes)
    values["on_chip"] |= {"plastic": [], "classes": None}
    return parse_model_spec(values, str(run.folder))


def _weights(
    learning: LearningProgram, state: LearningState, run: Run, network: DecolleNetwork
) -> dict[str, torch.Tensor]:
    program = learning.program
    places, kept = neuron_layers(program), first_new_layer(program)
    weights = network.state_dict()
    for name, tensor in run.network().state_dict().items():
        if int(name.split(".")[1]) >= kept:
            continue
        if name.endswith(("readout_weight", "readout_bias", "feedback_weight")):
            weights[name] = _of_classes(tensor, weights[name], run.classes, program.classes)
        else:
            weights[name] = tensor
    for number, index in enumerate(places):
        layer, scale, prefix = program.layers[index], _scale(learning, index), f"layers.{number}"
        if learning.plasticity(index) is not None:
            weight_NI = state.weights(learning, index)[0]
            weights[f"{prefix}.weight"] = _tensor(weight_NI * (2.0**layer.weight_exp / scale))
        elif number >= kept:
            weights[f"{prefix}.weight"] = _tensor(layer.weight * (2.0**layer.weight_exp / scale))
        if number >= kept:
            weights[f"{prefix}.bias"] = _tensor(_bias(layer, scale))
    if kept < len(places):
        weights[f"{prefix}.readout_weight"] = torch.eye(len(program.classes))
        weights[f"{prefix}.readout_bias"] = torch.zeros(len(program.classes))
    return weights


def _of_classes(
    tensor: torch.Tensor, like: torch.Tensor, known: tuple[str, ...], classes: tuple[str, ...]
) -> torch.Tensor:
    """Rows of a readout in the order of other classes; zeros for those that it does not know."""
    read_out = torch.zeros_like(like)
    for row, name in enumerate(known):
        if name in classes:
            read_out[classes.index(name)] = tensor[row]
    return read_out


def _scale(learning: LearningProgram, index: int) -> float:
    """Effective integer weight per float weight."""
    figures = learning.program.quantization
    known = figures[index].get("weight_scale") if index < len(figures) else None
    return float(known or LARGEST_WEIGHT * 2.0 ** learning.program.layers[index].weight_exp)


def _units(layer: Layer, scale: float) -> tuple[float, float, float]:
    """(register units of v per unit of U, alpha, beta): see `decolle_hw.quantization.scale`."""
    alpha = realised_factor(layer.dv, VOLTAGE_DECAY_OFFSET)
    beta = realised_factor(layer.du, CURRENT_DECAY_OFFSET)
    return (1 << ALIGN_SHIFT) * scale / ((1.0 - alpha) * (1.0 - beta)), alpha, beta


def _dynamics(layer: Layer, scale: float) -> dict[str, float]:
    """Keys of `network` of a layer in integers."""
    unit, alpha, beta = _units(layer, scale)
    if layer.neuron == "cuba":
        vth = max(float(layer.vth[0] << ALIGN_SHIFT) / unit, SMALLEST_VTH)
        return {"alpha": alpha, "beta": beta, "vth": vth}
    gamma = 1.0 - layer.dr / DECAY_UNITY
    if layer.rho == 0 or gamma >= 1.0:
        return {"alpha": alpha, "beta": beta, "alpharp": 0.0, "wrp": 0.0}
    return {"alpha": alpha, "beta": beta, "alpharp": gamma, "wrp": layer.rho / (unit * (1.0 - gamma))}


def _bias(layer: Layer, scale: float) -> NDArray[np.float64]:
    """(N,)"""
    unit, alpha, _ = _units(layer, scale)
    if layer.neuron == "cuba":
        bias_N: NDArray[np.float64] = layer.bias / (unit * (1.0 - alpha))
        return bias_N
    vth_N: NDArray[np.float64] = -(layer.vth.astype(np.float64) * (1 << ALIGN_SHIFT)) / unit
    return vth_N


def _tensor(values: Any) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))
