"""A lava-dl network (SLAYER's export_hdf5) as a program: the integers that ``lava.lib.dl.netx.hdf5.Network`` runs.

What cannot be represented is refused, all of it in one error, or, where that is asked for, approximated and reported.

Time. netx resets block k of a network every `reset_interval` steps, `reset_offset` + k + 1 steps after the first. With
`reset_offset` 0 for a network that begins with an input block, and 1 for one that is fed with spikes, layer i leaves
its reset state at step i + 1 of a sample, which is `Program.reset_steps`; a sample is a recording of this program.
"""

# N neurons, C classes

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from decolle_hw.compiler.layers import DenseLayer
from decolle_hw.compiler.program import Program
from decolle_hw.compiler.ranges import proven_ranges
from decolle_hw.errors import CompileError, listed
from decolle_hw.fixedpoint import ALIGN_SHIFT, VTH_MAX
from decolle_hw.interchange.findings import Findings
from decolle_hw.interchange.netx_file import NetxFile, read_netx
from decolle_hw.interchange.netx_layers import NetxLayers
from decolle_hw.sim.reference import run_layer

MOST_CLASSES = 1024  # output neurons that are counted one by one


@dataclass(frozen=True)
class Imported:
    """Result of `import_netx`: the program, what was approximated, and what is good to know."""

    program: Program
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


def import_netx(path: Path, *, approximate: bool = False, steps: int | None = None, target: str = "loihi2") -> Imported:
    """The network of a ``.net`` file.

    Args:
        approximate: do what cannot be had exactly as netx does it, or nearly, and say so in the notes.
        steps: of a recording; by default those of a sample that the file names (``simulation/tSample``).
        target: name of the target that the program is for.

    A network that begins with an input block takes images (`Program.input_block`). Classes are the output neurons
    ``0`` to ``N-1``, or the groups of a final `average` layer. Neurons whose threshold is out of reach decide by their
    voltage after the last step, all others by their spikes.

    Raises:
        ArtifactError: the file is missing, damaged, or no network.
        CompileError: the network cannot be represented; one line with all reasons.
    """
    file = read_netx(path)
    reading = NetxLayers(Findings(approximate))
    for index, entry in enumerate(file.layers):
        reading.add(entry, index, last=index == len(file.layers) - 1)
    program = _program(path, file, reading, file.sample_steps if steps is None else steps, target)
    problems = reading.findings.problems
    if problems or program is None:
        raise CompileError(listed(f"{path}: cannot be imported", problems))
    return Imported(program, tuple(reading.findings.notes), tuple(reading.warnings))


def _program(path: Path, file: NetxFile, reading: NetxLayers, steps: int | None, target: str) -> Program | None:
    findings = reading.findings
    if steps is None:
        findings.problem("simulation/tSample", "does not say how many steps a sample has; give them with --steps N")
    if not reading.layers and not findings.problems:
        findings.problem("layer", "there is no dense layer and no convolution; nothing is left to compile")
    if findings.problems or steps is None:
        return None
    outputs = reading.layers[-1].num_neurons
    classes = reading.groups or outputs
    if classes > MOST_CLASSES:
        findings.problem(
            reading.where[-1],
            f"its {outputs} neurons are too many for classes, of which there are {MOST_CLASSES} at most",
        )
        return None
    readout = np.repeat(np.eye(classes, dtype=np.int32), outputs // classes, axis=1)
    last = replace(reading.layers[-1], readout_weight=readout, readout_bias=np.zeros(classes, np.int32))
    shape = reading.input_shape or ()
    assert len(shape) in (1, 2, 3), "the first layer has told how many inputs there are"
    padded = (*(1,) * (3 - len(shape)), *shape)
    try:
        program = Program(
            name=path.stem, layers=(*reading.layers[:-1], last), classes=tuple(map(str, range(classes))),
            input_shape=(padded[0], padded[1], padded[2]), steps=steps, burnin_steps=0, target=target, spec_yaml="",
            checkpoint_sha256=file.sha256, input_block=reading.block,
        )  # fmt: skip
    except CompileError as error:
        findings.problem("network", str(error))
        return None
    silent = _check_thresholds(program, reading)
    reading.warnings += _early_spikes(program, reading.where)
    return replace(program, prediction="voltage") if len(program.layers) - 1 in silent else program


def _early_spikes(program: Program, where: list[str]) -> Iterator[str]:
    """A warning for each layer that hears, by its delays, what the layer before it spiked before its reset.

    A layer that is not reset yet spikes by its biases alone, and by those of the layers before it. Here it is silent.
    In netx a synapse without delays delivers such spikes before the next layer is reset, too, which leaves nothing of
    them, but a delay line keeps them until after that.
    """
    if not any(isinstance(layer, DenseLayer) and layer.max_delay for layer in program.layers[1:]):
        return
    steps = len(program.layers)
    spikes_RTI = np.zeros((1, steps, program.layers[0].num_inputs), np.uint8)
    for index, layer in enumerate(program.layers):
        if index and isinstance(layer, DenseLayer) and layer.max_delay:
            latest_I = np.where(layer.weight != 0, layer.delay, 0).max(0)
            early_TI = spikes_RTI[0, : program.reset_steps[index - 1]]
            arrives_TI = np.arange(len(early_TI))[:, None] + 1 + latest_I
            late = int(np.count_nonzero(early_TI & (arrives_TI >= program.reset_steps[index])))
            if late:
                yield (
                    f"{where[index]}: its delays bring {late} spike{'s' * (late > 1)} that biases make before the "
                    "reset of the layer before it; lava-dl's Network hears them after this layer's reset, the network "
                    "here does not"
                )
        spikes_RTI = run_layer(layer, spikes_RTI, first=0, record=False).spikes


def _check_thresholds(program: Program, reading: NetxLayers) -> set[int]:
    """Indices of layers that can never spike; a finding for each that might although it must not."""
    silent = set()
    for index, layer in enumerate(program.layers):
        neurons = reading.never.get(index)
        if neurons is None and int(layer.vth[0]) < VTH_MAX:
            continue
        ranges = proven_ranges(layer, first=program.first_step(index), steps=program.steps)
        v = next(register for register in ranges if register.name == "v")
        below = v.proven_high <= int(layer.vth[0]) << ALIGN_SHIFT
        if below:
            silent.add(index)
            if index < len(program.layers) - 1:
                reading.warnings.append(
                    f"{reading.where[index]}: its neurons never spike, so nothing follows from them"
                )
        if neurons is not None and not (below and v.proven):
            reading.findings.inexact(
                reading.where[index], f"in {program.steps} steps its voltage may reach {v.proven_low}.."
                f"{v.proven_high}, beyond the highest threshold; netx has one above every voltage",
                f"the highest threshold, {VTH_MAX} * 64; or run fewer steps",
            )  # fmt: skip
            silent.add(index)
    return silent
