"""Run a compiled network in the Lava CPU simulator: all recordings in one Lava run, reset in between.

Recording k occupies Lava's time steps ``k*T + 1 .. (k+1)*T``. A decolle layer resets at the first of them. A stock
`LIFReset` lets the synaptic input that is in flight at its reset through, so layer i resets at step i + 1 of the
recording, the first that can carry input of this recording; the steps before belong to the tail of the recording
before and are handed back as the reset state, zero (see `first_step`).
"""

# R recordings, T steps, I inputs, N neurons

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.dense.process import Dense
from lava.proc.lif.process import AbstractLIF, LIFReset
from lava.utils.weightutils import SignMode

from decolle_hw.compiler.program import DenseLayer, Program, first_step
from decolle_hw.lava_backend.processes import (
    Decolle,
    PyDecolleModel,
    PyRecordedSpikes,
    RecordedSpikes,
    TapedLifReset,
)
from decolle_hw.lava_backend.supervision import interrupts_later, supervised
from decolle_hw.lava_backend.tape import Tape
from decolle_hw.sim.trace import LayerTrace, Trace

Progress = Callable[[int, int], None]

STEPS_PER_SEGMENT = 600  # between two progress reports; pausing Lava costs about as much as ten steps


def run_lava(
    program: Program, spikes_RTI: np.ndarray, *, record: bool = False, progress: Progress | None = None
) -> Trace:
    """Run recordings through the Lava processes of a compiled network.

    Args:
        program: the compiled network.
        spikes_RTI: binary input, (R, T, I).
        record: return u, v (and r) of every neuron at every step as well as the spikes.
        progress: called with (recordings done, recordings in all).

    No recordings make an empty trace. Ctrl-C, and whatever else is raised, ends all processes that Lava has started.

    Raises:
        ValueError: the input is not binary or does not fit the network.
        DecolleHwError: a Lava process failed or died.
    """
    program.check_input(spikes_RTI)
    recordings, steps, inputs = spikes_RTI.shape
    if recordings == 0:
        return _empty(program, steps, record)
    with _temporary_folder() as folder:
        source_tape = Tape.create(folder, "input", recordings * steps, inputs, ())
        source_tape.open("spikes", "r+")[:] = spikes_RTI.reshape(-1, inputs)
        tapes = _create_tapes(folder, program, recordings * steps, record)
        source = RecordedSpikes(tape=source_tape, width=inputs)
        source.name = "the input"
        _connect(program, source, tapes, steps)
        _run(source, recordings, steps, progress)
        return Trace(
            tuple(
                _read(tape, recordings, steps, first_step(layer, index))
                for index, (tape, layer) in enumerate(zip(tapes, program.layers, strict=True))
            )
        )


@contextlib.contextmanager
def _temporary_folder() -> Iterator[Path]:
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
        tapes.append(Tape.create(folder, f"layer{index}", total_steps, layer.num_neurons, _registers(layer, record)))
    return tapes


def _registers(layer: DenseLayer, record: bool) -> tuple[str, ...]:
    if not record:
        return ()
    return ("u", "v", "r") if layer.neuron == "decolle" else ("u", "v")


def _empty(program: Program, steps: int, record: bool) -> Trace:
    def nothing(layer: DenseLayer, dtype: type) -> np.ndarray:
        return np.zeros((0, steps, layer.num_neurons), dtype)

    return Trace(
        tuple(
            LayerTrace(nothing(layer, np.uint8), {name: nothing(layer, np.int32) for name in _registers(layer, record)})
            for layer in program.layers
        )
    )


def _connect(program: Program, source: RecordedSpikes, tapes: list[Tape], steps: int) -> None:
    upstream = source.s_out
    for index, (layer, tape) in enumerate(zip(program.layers, tapes, strict=True)):
        # Never let Lava infer the sign mode: an all-positive matrix would become EXCITATORY and keep odd weights.
        synapses = Dense(weights=layer.weight, weight_exp=layer.weight_exp, num_weight_bits=8, sign_mode=SignMode.MIXED)
        neurons = _neurons(layer, index, tape, steps)
        synapses.name, neurons.name = f"layer {index}'s synapses", f"layer {index}'s neurons"  # for error messages
        upstream.connect(synapses.s_in)
        synapses.a_out.connect(neurons.a_in)
        upstream = neurons.s_out


def _neurons(layer: DenseLayer, index: int, tape: Tape, steps: int) -> AbstractLIF:
    shape = (layer.num_neurons,)
    if layer.neuron == "decolle":
        return Decolle(
            shape=shape, du=layer.du, dv=layer.dv, dr=layer.dr, rho=layer.rho, vth=layer.vth,
            reset_interval=steps, tape=tape,
        )  # fmt: skip
    stock = LIFReset(
        shape=shape, du=layer.du, dv=layer.dv, vth=int(layer.vth[0]),
        bias_mant=layer.bias_mant, bias_exp=layer.bias_exp,
        # Lava counts steps from 1: step s of recording k is time step k*T + s + 1.
        reset_interval=steps, reset_offset=first_step(layer, index) + 1,
    )  # fmt: skip
    stock.proc_params["tape"] = tape  # its constructor takes no further arguments; the taped model reads it here
    return stock


def _run(source: RecordedSpikes, recordings: int, steps: int, progress: Progress | None) -> None:
    config = Loihi2SimCfg(
        select_tag="fixed_pt",
        exception_proc_model_map={
            LIFReset: TapedLifReset,
            Decolle: PyDecolleModel,
            RecordedSpikes: PyRecordedSpikes,
        },
    )
    per_segment = max(1, STEPS_PER_SEGMENT // steps)
    logging.getLogger("lava").setLevel(logging.ERROR)
    with supervised(source, config) as runtime:
        for start in range(0, recordings, per_segment):
            stop = min(start + per_segment, recordings)
            runtime.start(RunSteps(num_steps=(stop - start) * steps))
            if progress is not None:
                progress(stop, recordings)


def _read(tape: Tape, recordings: int, steps: int, first: int) -> LayerTrace:
    def rows(quantity: str) -> np.ndarray:
        values_RTN = np.array(tape.open(quantity)).reshape(recordings, steps, -1)
        values_RTN[:, :first] = 0
        return values_RTN

    return LayerTrace(rows("spikes"), {name: rows(name) for name in tape.registers})
