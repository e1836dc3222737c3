"""Run a compiled network in the Lava CPU simulator: all recordings in one Lava run, reset in between.

Recording k occupies Lava's time steps ``k*slot + 1 .. (k+1)*slot``, where a slot is the recording's steps and one
silent step for each pooling stage, which adds a step of delay. Layer i leaves its reset state at step
`Program.reset_steps[i]` of the slot; the steps before belong to the tail of the recording before. Traces are cut and
moved into the float network's time: see `decolle_hw.compiler.program`.

Lava's `Conv` has its axes in the order (x, y, channel) and mirrors its kernel; neurons stay flat, channels first.
"""

# R recordings, T steps, I inputs, N neurons

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lava.magma.core.process.ports.ports import OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.conv.process import Conv
from lava.proc.dense.process import DelayDense, Dense
from lava.proc.lif.process import AbstractLIF, LIFReset
from lava.utils.weightutils import SignMode

from decolle_hw.compiler.input_block import InputBlock
from decolle_hw.compiler.layers import ConvLayer, DenseLayer, Layer
from decolle_hw.compiler.program import Program
from decolle_hw.lava_backend.processes import (
    Decolle,
    EmptiedDelayDense,
    PyDecolleModel,
    PyRecordedSpikes,
    RecordedSpikes,
    TapedLifReset,
)
from decolle_hw.lava_backend.supervision import interrupts_later, supervised
from decolle_hw.lava_backend.tape import Tape
from decolle_hw.sim.trace import LayerTrace, Trace, is_recorded, register_names

Progress = Callable[[int, int], None]
Models = dict[Any, type]

BIASES = "biases.npy"
STOCK_REGISTERS = ("u", "v")
STEPS_PER_SEGMENT = 600  # between two progress reports; pausing Lava costs about as much as ten steps


def run_lava(program: Program, given: np.ndarray, *, record: bool = False, progress: Progress | None = None) -> Trace:
    """Run recordings through the Lava processes of a compiled network.

    Args:
        program: the compiled network.
        given: the recordings: binary input, (R, T, I); of a network with an input block, its bias mantissas, (R, I).
        record: return u, v (and r) of every neuron at every step as well as the spikes.
        progress: called with (recordings done, recordings in all).

    No recordings make an empty trace. Ctrl-C, and whatever else is raised, ends all processes that Lava has started.

    Raises:
        ValueError: the input is not binary or does not fit the network.
        DecolleHwError: a Lava process failed or died.
    """
    program.check_input(given)
    recordings, steps = len(given), program.steps_of(given)
    if recordings == 0:
        return _empty(program, steps, record)
    slot = program.slot_steps(steps)
    with temporary_folder() as folder:
        names = STOCK_REGISTERS if record and program.input_block is not None else ()
        source_tape = Tape.create(folder, "input", recordings * slot, program.num_inputs, names)
        tapes = _create_tapes(folder, program, recordings * slot, record)
        source: AbstractProcess
        if program.input_block is None:
            source_tape.open("spikes", "r+").reshape(recordings, slot, -1)[:, :steps] = given
            source = RecordedSpikes(tape=source_tape, width=program.num_inputs)
        else:
            np.save(folder / BIASES, given.astype(np.int16))
            source = _input_neurons(program.input_block, folder / BIASES, source_tape, slot)
        source.name = "the input"
        connect_program(program, source, tapes, slot)
        run_network(source, recordings, slot, progress)
        layers = tuple(
            _read(tape, recordings, steps, program.delays[index], program.first_step(index))
            for index, tape in enumerate(tapes)
        )
        return Trace(layers, None if program.input_block is None else _read(source_tape, recordings, steps, 0, 0))


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Removed with all its files even when Ctrl-C is pressed once more meanwhile."""
    folder = tempfile.TemporaryDirectory(prefix="decolle-hw-lava-")
    try:
        yield Path(folder.name)
    finally:
        with interrupts_later():
            folder.cleanup()


def _create_tapes(folder: Path, program: Program, total_steps: int, record: bool) -> list[Tape]:
    tapes = []
    for index, layer in enumerate(program.layers):
        names = register_names(layer) if is_recorded(program, index, record) else ()
        tapes.append(Tape.create(folder, f"layer{index}", total_steps, layer.num_neurons, names))
    return tapes


def _empty(program: Program, steps: int, record: bool) -> Trace:
    def nothing(width: int, names: tuple[str, ...]) -> LayerTrace:
        shape = (0, steps, width)
        return LayerTrace(np.zeros(shape, np.uint8), {name: np.zeros(shape, np.int32) for name in names})

    layers = tuple(
        nothing(layer.num_neurons, register_names(layer) if is_recorded(program, index, record) else ())
        for index, layer in enumerate(program.layers)
    )
    block = None if program.input_block is None else nothing(program.num_inputs, STOCK_REGISTERS if record else ())
    return Trace(layers, block)


def connect_program(program: Program, source: AbstractProcess, tapes: Sequence[Tape], slot: int) -> None:
    """All layers, one behind the other; they leave their reset state again every `slot` steps."""
    upstream = source.s_out
    for index, tape in enumerate(tapes):
        upstream = connect_layer(program, index, upstream, tape, slot)


def connect_layer(program: Program, index: int, upstream: OutPort, tape: Tape, slot: int) -> OutPort:
    """Synapses and neurons of a layer that does not learn; returns the port that its spikes leave by."""
    layer, reset = program.layers[index], program.reset_steps[index]
    neurons = _neurons(layer, reset, tape, slot)
    neurons.name = f"layer {index}'s neurons"  # for error messages
    if isinstance(layer, ConvLayer):
        synapses = _convolution(layer)
        upstream.reshape(layer.input_shape).transpose((2, 1, 0)).connect(synapses.s_in)
        synapses.a_out.transpose((2, 1, 0)).reshape((layer.num_neurons,)).connect(neurons.a_in)
    else:
        assert isinstance(layer, DenseLayer)
        # A decolle neuron drops what arrives at its reset, a stock one does not: it must be right by then.
        synapses = _matrix(layer, slot, reset if layer.neuron == "decolle" else reset - 1)
        upstream.connect(synapses.s_in)
        synapses.a_out.connect(neurons.a_in)
    synapses.name = f"layer {index}'s synapses"
    return neurons.s_out


def _matrix(layer: DenseLayer, slot: int, emptied_at: int) -> Dense | DelayDense:
    # Never let Lava infer the sign mode: an all-positive matrix would become EXCITATORY and keep odd weights.
    format_ = {"num_weight_bits": layer.weight_bits, "sign_mode": SignMode[layer.sign_mode.upper()]}
    if not layer.max_delay:
        return Dense(weights=layer.weight, weight_exp=layer.weight_exp, **format_)
    delayed = DelayDense(
        weights=layer.weight, weight_exp=layer.weight_exp, delays=layer.delay.astype(int), **format_
    )  # fmt: skip
    delayed.proc_params["reset"] = (slot, emptied_at)  # its constructor takes no further arguments
    return delayed


def _convolution(layer: ConvLayer) -> Conv:
    weight, groups = layer.in_lava()
    return Conv(
        weight=weight[:, :, ::-1, ::-1].transpose(0, 3, 2, 1).copy(),
        input_shape=layer.input_shape[::-1], stride=layer.strides[::-1], padding=layer.paddings[::-1],
        dilation=layer.dilations[::-1], groups=groups,
    )  # fmt: skip


def _neurons(layer: Layer, reset: int, tape: Tape, slot: int) -> AbstractLIF:
    shape = (layer.num_neurons,)
    if layer.neuron == "decolle":
        return Decolle(
            shape=shape, du=layer.du, dv=layer.dv, dr=layer.dr, rho=layer.rho, vth=layer.vth,
            reset_interval=slot, reset_offset=reset, tape=tape,
        )  # fmt: skip
    stock = LIFReset(
        shape=shape, du=layer.du, dv=layer.dv, vth=int(layer.vth[0]),
        bias_mant=layer.bias_mant, bias_exp=layer.bias_exp,
        # Lava counts steps from 1: step s of slot k is time step k*slot + s + 1.
        reset_interval=slot, reset_offset=reset + 1,
    )  # fmt: skip
    stock.proc_params["tape"] = tape  # its constructor takes no further arguments; the taped model reads it here
    return stock


def _input_neurons(block: InputBlock, biases: Path, tape: Tape, slot: int) -> LIFReset:
    """They leave their reset state at the first step of a slot, Lava's time step 1."""
    neurons = LIFReset(
        shape=(tape.width,), du=block.du, dv=block.dv, vth=block.vth, bias_exp=block.bias_exp,
        reset_interval=slot, reset_offset=1,
    )  # fmt: skip
    neurons.proc_params["tape"] = tape  # as in `_neurons`
    neurons.proc_params["biases"] = str(biases)
    return neurons


def simulator(models: Models | None = None) -> Loihi2SimCfg:
    """Which model runs each process; `models`: of processes that are not among those of a program."""
    return Loihi2SimCfg(
        select_tag="fixed_pt",
        exception_proc_model_map={
            LIFReset: TapedLifReset,
            DelayDense: EmptiedDelayDense,
            Decolle: PyDecolleModel,
            RecordedSpikes: PyRecordedSpikes,
            **(models or {}),
        },
    )


def run_network(
    source: AbstractProcess, recordings: int, slot: int, progress: Progress | None, models: Models | None = None
) -> None:
    """Run the network that `source` belongs to; `models` as in `simulator`."""
    per_segment = max(1, STEPS_PER_SEGMENT // slot)
    logging.getLogger("lava").setLevel(logging.ERROR)
    with supervised(source, simulator(models)) as runtime:
        for start in range(0, recordings, per_segment):
            stop = min(start + per_segment, recordings)
            runtime.start(RunSteps(num_steps=(stop - start) * slot))
            if progress is not None:
                progress(stop, recordings)


def _read(tape: Tape, recordings: int, steps: int, delay: int, first: int) -> LayerTrace:
    """What a layer did in the steps of each recording, in the float network's time; zero before step `first`."""

    def rows(quantity: str) -> np.ndarray:
        whole_RTN = tape.open(quantity).reshape(recordings, -1, tape.width)
        values_RTN = np.array(whole_RTN[:, delay : delay + steps])
        values_RTN[:, :first] = 0
        return values_RTN

    return LayerTrace(rows("spikes"), {name: rows(name) for name in tape.registers})
