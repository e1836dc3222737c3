"""Our Lava processes and their CPU models: a source of recorded spikes, the decolle neuron, a taped stock
LIFReset, a stock DelayDense that recordings share.

Lava executes this file a second time under its bare name when it looks for process models: keep it free of effects.
"""

# N neurons, I inputs

from __future__ import annotations

from typing import Any

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.dense.models import PyDelayDenseModelBitAcc
from lava.proc.dense.process import DelayDense
from lava.proc.lif.models import AbstractPyLifModelFixed, PyLifResetModelBitAcc
from lava.proc.lif.process import AbstractLIF, LIFReset

from decolle_hw.fixedpoint import ALIGN_SHIFT, DECAY_BITS, DECAY_UNITY, STATE_LIMIT
from decolle_hw.lava_backend.tape import Tape, TapeWriter


class RecordedSpikes(AbstractProcess):
    """Sends row t of a tape's spikes at time step t + 1.

    Args: tape of (T, I) spikes; width I.
    """

    def __init__(self, *, tape: Tape, width: int) -> None:
        super().__init__(tape=tape)
        self.s_out = OutPort(shape=(width,))


@implements(proc=RecordedSpikes, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyRecordedSpikes(PyLoihiProcessModel):
    """CPU model of `RecordedSpikes`."""

    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=1)

    def __init__(self, proc_params) -> None:
        super().__init__(proc_params)
        self.spikes = proc_params["tape"].open("spikes")

    def run_spk(self) -> None:
        self.s_out.send(np.asarray(self.spikes[self.time_step - 1], np.int32))


class Decolle(AbstractLIF):
    """The paper's neuron in Loihi registers; on silicon a Loihi 2 microcode neuron.

    Equation (D and << 6 as in stock LIF, whose u and v it shares)::

        u[t] = wrap(D(u[t-1], du+1) + (a_in << 6));   v[t] = saturate(D(v[t-1], dv) + u[t])
        r[t] = saturate(D(r[t-1], dr) - rho S[t-1]);  S[t] = v[t] + r[t] > vth << 6

    Every `reset_interval` steps, `reset_offset` steps after the first, u, v, r and S start from zero and synaptic
    input that is still in flight from the recording before is dropped.

    Args: shape (N,); du, dv, dr 12-bit decays; rho decrement of r; vth (N,) signed mantissas; tape to write to.
    """

    def __init__(
        self,
        *,
        shape: tuple[int, ...],
        du: int,
        dv: int,
        dr: int,
        rho: int,
        vth: np.ndarray,
        reset_interval: int,
        reset_offset: int,
        tape: Tape,
        **learning: Any,  # what `LearningNeuronProcess` hands on
    ) -> None:
        super().__init__(
            shape=shape, u=0, v=0, du=du, dv=dv, bias_mant=0, bias_exp=0, name=None, log_config=None,
            reset_interval=reset_interval, reset_offset=reset_offset, tape=tape, **learning,
        )  # fmt: skip
        self.r = Var(shape=shape, init=0)
        self.dr = Var(shape=(1,), init=dr)
        self.rho = Var(shape=(1,), init=rho)
        self.vth = Var(shape=shape, init=vth)


@implements(proc=Decolle, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyDecolleModel(AbstractPyLifModelFixed):
    """CPU model of `Decolle`: u and v are stepped by Lava's own `subthr_dynamics`."""

    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)
    r: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    dr: int = LavaPyType(int, np.uint16, precision=12)
    rho: int = LavaPyType(int, np.int32, precision=24)
    vth: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=18)

    def __init__(self, proc_params) -> None:
        super().__init__(proc_params)
        self.reset_interval = proc_params["reset_interval"]
        self.reset_offset = proc_params["reset_offset"]
        self.writer = TapeWriter(proc_params["tape"])
        self.spikes: np.ndarray = np.zeros(0, bool)  # gets its width in the first step

    def run_spk(self) -> None:
        a_in = self.a_in.recv()
        # Steps before the first reset belong to no recording; they only have to begin somewhere.
        if self.time_step == 1 or (self.time_step - 1) % self.reset_interval == self.reset_offset:
            self.u[:] = 0
            self.v[:] = 0
            self.r[:] = 0
            self.spikes = np.zeros(self.v.shape, bool)
            a_in = np.zeros_like(a_in)
        self.subthr_dynamics(activation_in=a_in)
        size = np.abs(np.int64(self.r)) * (DECAY_UNITY - int(self.dr))
        decayed = np.sign(self.r) * (size >> DECAY_BITS)
        self.r[:] = np.clip(decayed - int(self.rho) * self.spikes, -STATE_LIMIT + 1, STATE_LIMIT - 1)
        self.spikes = self.v + self.r > np.left_shift(self.vth, ALIGN_SHIFT)
        self.s_out.send(self.spikes)
        self.writer.write(self.time_step, {"spikes": self.spikes, "u": self.u, "v": self.v, "r": self.r})


@implements(proc=DelayDense, protocol=LoihiProtocol)
@requires(CPU)
@tag("bit_accurate_loihi", "fixed_pt")
class EmptiedDelayDense(PyDelayDenseModelBitAcc):
    """Lava's stock `DelayDense` model, every line of its arithmetic inherited, that forgets at the start of a recording
    what it still holds of the one before. Stock LIFReset has no such reach into the synapse.
    """

    def __init__(self, proc_params) -> None:
        super().__init__(proc_params)
        self.reset_interval, self.reset_offset = proc_params["reset"]

    def run_spk(self) -> None:
        if (self.time_step - 1) % self.reset_interval == self.reset_offset:
            self.a_buff[:] = 0
        super().run_spk()


@implements(proc=LIFReset, protocol=LoihiProtocol)
@requires(CPU)
@tag("bit_accurate_loihi", "fixed_pt")
class TapedLifReset(PyLifResetModelBitAcc):
    """Lava's stock `LIFReset` model, every line of its arithmetic inherited, that also writes a tape.

    Of an input block, its bias mantissas are set once per recording: row k of a file at the start of slot k.
    """

    def __init__(self, proc_params) -> None:
        super().__init__(proc_params)
        self.writer = TapeWriter(proc_params["tape"])
        self.spikes: np.ndarray = np.zeros(0, bool)
        biases = proc_params.get("biases")
        self.biases = None if biases is None else np.load(biases, mmap_mode="r")

    def spiking_activation(self) -> np.ndarray:
        self.spikes = super().spiking_activation()
        return self.spikes

    def run_spk(self) -> None:
        recording, step = divmod(self.time_step - 1, self.reset_interval)
        if self.biases is not None and step == 0:
            self.bias_mant[:] = self.biases[recording]
        super().run_spk()
        self.writer.write(self.time_step, {"spikes": self.spikes, "u": self.u, "v": self.v})
