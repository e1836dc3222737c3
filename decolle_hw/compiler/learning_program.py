"""A compiled network some of whose dense layers learn on chip: what stands around each, in nothing but integers.

Each plastic layer has a loop of its own, and nothing in it comes from another layer or from the host but a target::

    spikes S --G--> error neurons, one per class <-- target        (a plastic output layer: G is the identity)
                        |
                        +--G^T, graded spikes--> third factor --gate--> y1, y2 --rule--> the layer's weights

Time. With S[t] the spikes of step t, all in the layer's own time on chip::

    z[t]   = decay(z[t-1], decay) + (G S[t-1])                      # a readout that forgets; z is 24 bit, saturating
    e[t]   = target[t] - (z[t] + g)                                 # nothing is sent while there is no target
    e[t]   = sign(e) * min(|e| >> shift, 127) where |e| > dead_zone, else 0
    f[t]   = (G^T e[t-1])                                           # Dense passes its sum on one step later
    y[t]   = sign(f) * min(|f| >> feedback_shift, 127) where |U[t]| < gate_width, else 0
    y1, y2 = max(y, 0), max(-y, 0)

So an error meets the traces two steps after the spikes that it is about. U is the distance to the threshold:
``v + r - (vth << 6)`` of a decolle neuron, ``v - (vth << 6)`` of a stock LIF, before a spike resets v.
"""

# N neurons, C classes

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiler.layers import READOUT_MAX, READOUT_MIN, DenseLayer, within
from decolle_hw.compiler.plasticity import EPOCH_MAX, TRACE_MAX, Rule, TraceFilter
from decolle_hw.compiler.program import Program
from decolle_hw.errors import CompileError, listed
from decolle_hw.fixedpoint import DECAY_UNITY, STATE_LIMIT

GATE_OPEN = 1 << 26  # wider than any distance from the threshold
FORGETS = DECAY_UNITY  # decay of a readout that only knows the step before
SHIFT_MAX = 23
UNUSED = TraceFilter()  # always 0


@dataclass(frozen=True)
class ErrorNeurons:
    """One neuron per class, which compares the readout of a layer with the target; see the module."""

    on: int  # what the readout of the taught class should be
    off: int = 0  # what that of the others should be
    decay: int = FORGETS  # of the readout, in parts of 4096
    shift: int = 0
    dead_zone: int = 0

    def problems(self) -> Iterator[str]:
        for name in ("on", "off"):
            value = getattr(self, name)
            if not -STATE_LIMIT < value < STATE_LIMIT:
                yield f"error.{name}: {value}, expected 24 bit, -2**23+1..2**23-1"
        if not 0 <= self.decay <= DECAY_UNITY:
            yield f"error.decay: {self.decay}, expected 0..{DECAY_UNITY}"
        if not 0 <= self.shift <= SHIFT_MAX:
            yield f"error.shift: {self.shift}, expected 0..{SHIFT_MAX}"
        if not 0 <= self.dead_zone < STATE_LIMIT:
            yield f"error.dead_zone: {self.dead_zone}, expected 0..2**23-1"


@dataclass(frozen=True, kw_only=True)
class PlasticLayer:
    """How the weights of one layer of a program learn."""

    layer: int  # index in `Program.layers`
    rule: Rule
    x1: TraceFilter
    x2: TraceFilter = UNUSED
    epoch: int = 1  # steps from one update to the next
    error: ErrorNeurons
    readout_weight: NDArray[np.int32]  # (C, N) G, signed 8 bit; the feedback is its transpose
    readout_bias: NDArray[np.int32]  # (C,) g
    feedback_shift: int = 0
    gate_width: int = GATE_OPEN  # on the scale of v, that of vth << 6

    def problems(self, program: Program) -> Iterator[str]:
        """Everything that keeps it from learning on chip, as far as one layer goes."""
        if not 0 <= self.layer < len(program.layers):
            yield f"{program.name} has layers 0..{len(program.layers) - 1}; count pooling stages too"
            return
        layer = program.layers[self.layer]
        if not isinstance(layer, DenseLayer):
            yield (
                f"is a {layer.kind}: each synapse learns by itself, so a shared kernel would have to be unrolled into "
                f"{layer.num_synapses:,} synapses in place of {layer.weight.size:,} weights; make a dense layer plastic"
            )
            return
        if layer.max_delay:
            yield "has synaptic delays, which Lava's LearningDense has not; make a layer without delays plastic"
        if layer.weight_bits != 8:
            yield f"has {layer.weight_bits} bit weights; learning needs all 8, compile with --weight-bits 8"
        yield from self.rule.problems()
        yield from self.x1.problems("x1")
        yield from self.x2.problems("x2")
        yield from self.error.problems()
        if not 1 <= self.epoch <= EPOCH_MAX:
            yield f"epoch: {self.epoch} steps, expected 1..{EPOCH_MAX} (6 bits)"
        shape = (len(program.classes), layer.num_neurons)
        if self.readout_weight.shape != shape or self.readout_bias.shape != shape[:1]:
            found = f"{self.readout_weight.shape} and {self.readout_bias.shape}"
            yield f"readout: {found}, expected a weight {shape} and a bias {shape[:1]}"
        elif not within(self.readout_weight, READOUT_MIN, READOUT_MAX):
            yield f"readout_weight: expected signed 8 bit, {READOUT_MIN}..{READOUT_MAX}"
        elif not within(self.readout_bias, -STATE_LIMIT + 1, STATE_LIMIT - 1):
            yield "readout_bias: expected 24 bit"
        else:
            sums = np.abs(self.readout_weight.astype(np.int64))
            if max(sums.sum(1).max(), int(sums.sum(0).max()) * TRACE_MAX) >= STATE_LIMIT:
                yield "readout_weight: its sums leave 24 bits; use smaller weights"
        if not 0 <= self.feedback_shift <= SHIFT_MAX:
            yield f"feedback_shift: {self.feedback_shift}, expected 0..{SHIFT_MAX}"
        if not 1 <= self.gate_width <= GATE_OPEN:
            yield f"gate_width: {self.gate_width}, expected 1..{GATE_OPEN} (always open)"


@dataclass(frozen=True)
class LearningProgram:
    """A compiled network and those of its layers that learn, from below to above.

    `teach` are the steps of a recording's slot on chip in which its target is sent: from the first to before the
    second. The layers below the first plastic one are frozen and may be of any kind; those above are dense.
    """

    program: Program
    plastic: tuple[PlasticLayer, ...]
    teach: tuple[int, int] = field(default=(0, 0))  # (0, 0): from burnin_steps + 1 to the end of the recording

    def __post_init__(self) -> None:
        if self.teach == (0, 0):
            object.__setattr__(self, "teach", (min(self.program.burnin_steps + 1, self.program.steps - 1), self.slot))
        found = list(self._problems())
        if found:
            raise CompileError(listed(f"{self.program.name} cannot learn on chip as described", found))

    @property
    def slot(self) -> int:
        """Steps on chip of a recording."""
        return self.program.slot_steps()

    @property
    def first(self) -> int:
        """The lowest plastic layer: those below see no learning."""
        return self.plastic[0].layer

    def plasticity(self, layer: int) -> PlasticLayer | None:
        """That of a layer of the program; None where it is frozen."""
        return next((plastic for plastic in self.plastic if plastic.layer == layer), None)

    def digest(self) -> str:
        """SHA-256 of every number that decides how it learns: a state belongs to one such network."""
        digest = hashlib.sha256()
        _feed(digest, (self.program.layers, self.program.input_shape, self.program.steps, self.plastic, self.teach))
        return digest.hexdigest()

    def _problems(self) -> Iterator[str]:
        program = self.program
        if not self.plastic:
            yield "no layer is plastic"
        for plastic in self.plastic:
            for problem in plastic.problems(program):
                yield f"layer {plastic.layer}: {problem}"
        indices = [plastic.layer for plastic in self.plastic]
        if indices != sorted(set(indices)):
            yield f"plastic layers {indices}: give each once, from below to above"
        if program.input_block is not None:
            yield "an image drives it through biases; a network learns from recordings of spikes"
        if any(isinstance(layer, DenseLayer) and layer.max_delay for layer in program.layers):
            yield "has layers with synaptic delays, whose spikes in flight at the end of a recording are not simulated"
        above = range(min([index for index in indices if index >= 0], default=0), len(program.layers))
        for index in above:
            if not isinstance(program.layers[index], DenseLayer) and index not in indices:
                yield f"layer {index}: a {program.layers[index].kind} above a plastic layer; only dense layers may be"
        start, stop = self.teach
        if not 0 <= start < stop <= self.slot:
            yield f"teach: {self.teach}, expected two steps of a slot, 0 <= start < stop <= {self.slot}"


def output_readout(classes: int, gain: int = 1) -> dict[str, NDArray[np.int32]]:
    """Readout fields of a plastic output layer, one neuron per class: each is its own readout."""
    return {
        "readout_weight": gain * np.eye(classes, dtype=np.int32),
        "readout_bias": np.zeros(classes, np.int32),
    }


def _feed(digest: Any, value: Any) -> None:
    if dataclasses.is_dataclass(value):
        for entry in dataclasses.fields(value):
            digest.update(entry.name.encode())
            _feed(digest, getattr(value, entry.name))
    elif isinstance(value, np.ndarray):
        digest.update(f"{value.dtype.str}{value.shape}".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, tuple):
        digest.update(f"({len(value)}".encode())
        for part in value:
            _feed(digest, part)
    else:
        digest.update(f"{value!r};".encode())
