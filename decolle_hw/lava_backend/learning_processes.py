"""Lava processes of a network that learns: neurons with a third factor, error neurons, a taped stock LearningDense.

Equations in `decolle_hw.compiler.learning_program`. Lava executes this file a second time under its bare name when it
looks for process models: keep it free of effects.
"""

# N neurons, I inputs, C classes, E epochs

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.neuron import LearningNeuronModelFixed
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.neuron import LearningNeuronProcess
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.dense.models import PyLearningDenseModelBitApproximate
from lava.proc.dense.process import LearningDense
from lava.proc.lif.process import LIF

from decolle_hw.fixedpoint import ALIGN_SHIFT, DECAY_BITS, DECAY_UNITY, STATE_LIMIT
from decolle_hw.lava_backend.processes import Decolle, PyDecolleModel, TapedLifReset

TRACE_MAX = 127


class EpochTape(NamedTuple):  # not a dataclass: Lava executes this file under a bare name
    """Files with the weights (E, N, I) and traces x (E, 2, I), y (E, 2, N) after each epoch, and the last weights."""

    folder: str
    name: str
    every: bool  # epoch, or the last one alone

    @staticmethod
    def create(folder: Path, name: str, epochs: int, neurons: int, inputs: int, every: bool) -> EpochTape:
        """Reserve the files (sparse until written)."""
        tape = EpochTape(str(folder), name, every)
        rows = epochs if every else min(epochs, 1)
        for quantity, shape in (("weight", (neurons, inputs)), ("x", (2, inputs)), ("y", (2, neurons))):
            path = tape.path(quantity)
            np.lib.format.open_memmap(path, mode="w+", dtype=np.int16, shape=(rows, *shape))
        return tape

    def path(self, quantity: str) -> Path:
        return Path(self.folder) / f"{self.name}.epochs.{quantity}.npy"

    def open(self, quantity: str, mode: str = "r") -> np.ndarray:
        """The array behind one quantity."""
        if not self.path(quantity).stat().st_size:
            return np.zeros(0, np.int16)
        return np.lib.format.open_memmap(self.path(quantity), mode=mode)


@implements(proc=LearningDense, protocol=LoihiProtocol)
@requires(CPU)
@tag("bit_approximate_loihi", "fixed_pt")
class TapedLearningDense(PyLearningDenseModelBitApproximate):
    """Lava's stock `LearningDense` model, every line of its arithmetic inherited, that also writes a tape."""

    def __init__(self, proc_params) -> None:
        super().__init__(proc_params)
        self.tape = proc_params["tape"]
        self.files = {quantity: self.tape.open(quantity, "r+") for quantity in ("weight", "x", "y")}

    def run_lrn(self) -> None:
        super().run_lrn()
        epoch = self.time_step // self._learning_rule.t_epoch
        row = epoch - 1 if self.tape.every else 0
        self.files["weight"][row] = self.weights
        self.files["x"][row] = self.x1, self.x2
        self.files["y"][row] = self.y1, self.y2


class PlasticDecolle(LearningNeuronProcess, Decolle):
    """A decolle neuron that takes a third factor and sends y1 and y2.

    Args: as `Decolle`; learning_rule of its synapses; gate_width and feedback_shift of `PlasticLayer`.
    """


class PlasticLif(LearningNeuronProcess, LIF):
    """A stock LIFReset that takes a third factor and sends y1 and y2.

    Args: as `LIFReset`; tape to write to; learning_rule of its synapses; gate_width and feedback_shift of
    `PlasticLayer`.
    """


class ThirdFactor(LearningNeuronModelFixed):
    """The part of a neuron's model that makes y1 and y2 of the third factor and its distance to the threshold."""

    def __init__(self, proc_params) -> None:
        super().__init__(proc_params)
        self.gate_width = proc_params["gate_width"]
        self.feedback_shift = proc_params["feedback_shift"]

    def send_learning_signals(self, spikes: np.ndarray, potential: np.ndarray) -> None:
        """Everything that the synapses learn by: spikes, y1, y2 (and y3, which is always 0)."""
        third = np.asarray(self.a_third_factor_in.recv(), np.int64)
        distance = np.abs(potential.astype(np.int64) - np.left_shift(self.vth, ALIGN_SHIFT))
        size = np.where(distance < self.gate_width, np.minimum(np.abs(third) >> self.feedback_shift, TRACE_MAX), 0)
        self.y1 = np.where(third > 0, size, 0).astype(np.int32)
        self.y2 = np.where(third < 0, size, 0).astype(np.int32)
        self.s_out_bap.send(spikes)
        self.s_out_y1.send(self.y1)
        self.s_out_y2.send(self.y2)
        self.s_out_y3.send(np.zeros_like(self.y1))


@implements(proc=PlasticDecolle, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyPlasticDecolle(ThirdFactor, PyDecolleModel):
    """CPU model of `PlasticDecolle`: the neuron is that of `Decolle`, line by line."""

    implements_process = None  # not that of the inherited model

    def run_spk(self) -> None:
        PyDecolleModel.run_spk(self)
        self.send_learning_signals(self.spikes, self.v + self.r)


@implements(proc=PlasticLif, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyPlasticLif(ThirdFactor, TapedLifReset):
    """CPU model of `PlasticLif`: the neuron is Lava's stock LIFReset, line by line."""

    implements_process = None  # not that of the inherited model

    def spiking_activation(self) -> np.ndarray:
        self.potential = self.v.copy()  # a spike is about to reset it
        return super().spiking_activation()

    def run_spk(self) -> None:
        TapedLifReset.run_spk(self)
        self.send_learning_signals(self.spikes, self.potential)


class ErrorUnits(AbstractProcess):
    """Error neurons: a readout that forgets, compared with a target, of which only the excess is sent.

    Every `reset_interval` steps, `reset_offset` steps after the first, the readout starts from zero.
    """

    def __init__(
        self, *, classes: int, on: int, off: int, bias: np.ndarray, decay: int, shift: int, dead_zone: int,
        reset_interval: int, reset_offset: int,
    ) -> None:  # fmt: skip
        super().__init__(
            on=on, off=off, bias=bias, decay=decay, shift=shift, dead_zone=dead_zone,
            reset_interval=reset_interval, reset_offset=reset_offset,
        )  # fmt: skip
        self.a_in = InPort(shape=(classes,))
        self.target_in = InPort(shape=(classes,))
        self.s_out = OutPort(shape=(classes,))
        self.z = Var(shape=(classes,), init=0)


@implements(proc=ErrorUnits, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyErrorUnits(PyLoihiProcessModel):
    """CPU model of `ErrorUnits`."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    target_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=1)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=8)
    z: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)

    def run_spk(self) -> None:
        wanted = self.proc_params
        incoming = np.asarray(self.a_in.recv(), np.int64)
        target = self.target_in.recv().astype(bool)
        if (self.time_step - 1) % wanted["reset_interval"] == wanted["reset_offset"]:
            self.z[:] = 0
            incoming = np.zeros_like(incoming)
        kept = (np.abs(np.int64(self.z)) * (DECAY_UNITY - wanted["decay"])) >> DECAY_BITS
        self.z[:] = np.clip(np.sign(self.z) * kept + incoming, -STATE_LIMIT + 1, STATE_LIMIT - 1)
        error = np.where(target, wanted["on"], wanted["off"]) - (np.int64(self.z) + wanted["bias"])
        size = np.minimum(np.abs(error) >> wanted["shift"], TRACE_MAX)
        sent = np.where((np.abs(error) > wanted["dead_zone"]) & target.any(), np.sign(error) * size, 0)
        self.s_out.send(sent.astype(np.int32))
