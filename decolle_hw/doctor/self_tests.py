"""Ten seconds of work for each backend, with an outcome that is known from elsewhere.

The float rule against its equations in NumPy, the integer reference against numbers that were stored when it was
equal to Lava, Lava and its learning engine against the integer reference.
"""

# B recordings, T steps, I inputs, N neurons, C classes

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from decolle_hw.compiler.program import Program

STEPS, BURN_IN, BATCH, INPUTS, CLASSES = 24, 6, 5, 2 * 4 * 4, 3
UNITS = (20, 14)
UPDATES, RATE = 3, 0.5
TOLERANCE = 1e-4  # of weights of about 0.2 after updates in single precision
# SHA-256 of every spike and register of `integer_network` on `integer_spikes`.
INTEGER_DIGEST = {
    "decolle": "10c3445dbffae672a02c5877e2cb064ba59818b56747eb7535c0bc3e51fdd3d2",
    "cuba": "2803a8a6480f34f69cee7a540bd49d920f81914e55593a57e3454783fb7c5c6c",
}


# Names of the tests, as tables show them; those of Lava run in a process of their own.
FLOAT, REFERENCE, LAVA, LEARNING = "float rule", "integer reference", "Lava", "learning in Lava"


class SelfTestError(Exception):
    """A backend gave another result than it should."""


def float_rule(device: str = "cpu") -> str:
    """Some updates by the local rule, of two layers, against the equations of the paper in double precision."""
    import numpy as np
    import torch

    from decolle_hw.nn.network import DecolleNetwork
    from decolle_hw.spec import parse_model_spec
    from decolle_hw.training.learner import Learner

    training = {"loss": "mse", "optimizer": "SGD", "learning_rate": RATE, "betas": None, "schedule": "constant",
                "burnin_steps": BURN_IN, "surrogate": "fast_sigmoid"}  # fmt: skip
    dataset = {"input_shape": [2, 4, 4], "chunk_size_train": STEPS, "chunk_size_test": STEPS}
    network = {"Mhid": list(UNITS), "alpha": 0.9, "beta": 0.8}
    spec = parse_model_spec({"name": "doctor", "dataset": dataset, "network": network, "training": training}, "doctor")
    rng = np.random.default_rng(1)
    spikes_TBI = (rng.random((STEPS, BATCH, INPUTS)) < 0.3).astype(np.float32)
    target_BC = np.eye(CLASSES, dtype=np.float32)[rng.integers(0, CLASSES, BATCH)]
    learned = DecolleNetwork(spec, CLASSES, torch.Generator().manual_seed(1))
    by_hand = [
        [getattr(layer, name).double().numpy().copy() for name in ("weight", "bias", "readout_weight", "readout_bias")]
        for layer in learned
    ]
    before = [weight.copy() for weight, *_ in by_hand]
    learner = Learner(learned, spec.training, torch.device(device))
    for _ in range(UPDATES):
        learner.learn_batch(torch.from_numpy(spikes_TBI).to(device), torch.from_numpy(target_BC).to(device))
        _update(by_hand, spikes_TBI.astype(float), target_BC.astype(float))
    differences = [
        float(np.abs(layer.weight.cpu().double().numpy() - weight).max())
        for layer, (weight, *_) in zip(learned, by_hand, strict=True)
    ]
    moved = min(float(np.abs(weight - old).max()) for (weight, *_), old in zip(by_hand, before, strict=True))
    if max(differences) > TOLERANCE or moved < 10 * TOLERANCE:
        raise SelfTestError(
            f"after {UPDATES} updates weights are off by up to {max(differences):.1e}, the largest of a layer moved by "
            f"{moved:.1e}"
        )
    return f"{UPDATES} updates of {len(UNITS)} layers, weights within {max(differences):.0e} of the equations"


def _update(layers: list[list[np.ndarray]], spikes_TBI: np.ndarray, target_BC: np.ndarray) -> None:
    """One update of all layers, in place: design section 3.1, step by step.

    Q[t] = beta Q[t-1] + (1-beta) S_in[t];  P[t] = alpha P[t-1] + (1-alpha) Q[t-1];  R[t] = gamma R[t-1] - (1-gamma) rho
    S[t-1];  U = W P + b + R;  S = U > 0;  y = G S + g;  delta = (G^T dL/dy) / (1 + 10 |U|)^2;  dW = -eta delta P^T
    """
    import numpy as np

    alpha, beta, gamma, rho = 0.9, 0.8, 0.65, 1.0  # the last two: defaults of network.alpharp and network.wrp
    for layer in layers:
        weight_NI, bias_N, readout_CN, readout_C = layer
        steps, batch, inputs = spikes_TBI.shape
        q_BI, p_BI = np.zeros((batch, inputs)), np.zeros((batch, inputs))
        r_BN, s_BN = np.zeros((batch, len(weight_NI))), np.zeros((batch, len(weight_NI)))
        out_TBN = np.zeros((steps, batch, len(weight_NI)))
        slope_NI, slope_N = np.zeros_like(weight_NI), np.zeros_like(bias_N)
        for step in range(steps):
            p_BI = alpha * p_BI + (1 - alpha) * q_BI
            q_BI = beta * q_BI + (1 - beta) * spikes_TBI[step]
            r_BN = gamma * r_BN - (1 - gamma) * rho * s_BN
            u_BN = p_BI @ weight_NI.T + bias_N + r_BN
            out_TBN[step] = s_BN = (u_BN > 0).astype(float)
            if step >= BURN_IN:
                error_BC = s_BN @ readout_CN.T + readout_C - target_BC
                delta_BN = (2 * error_BC / error_BC.size) @ readout_CN / (1 + 10 * np.abs(u_BN)) ** 2
                slope_NI += delta_BN.T @ p_BI
                slope_N += delta_BN.sum(0)
        weight_NI -= RATE * slope_NI
        bias_N -= RATE * slope_N
        spikes_TBI = out_TBN


def integer_reference() -> str:
    """A small network of each neuron, every spike and register against stored ones."""
    from decolle_hw.compiler.layers import NEURON_KINDS
    from decolle_hw.sim.reference import run_reference

    values = 0
    for neuron in NEURON_KINDS:
        program = integer_network(neuron)
        trace = run_reference(program, integer_spikes(), record=True)
        digest, count = digest_of(trace)
        values += count
        if digest != INTEGER_DIGEST[neuron]:
            raise SelfTestError(f"a network of {neuron} neurons gives {digest[:12]}, not {INTEGER_DIGEST[neuron][:12]}")
    return f"{values:,} values of 2 networks, all as stored"


def digest_of(trace: Any) -> tuple[str, int]:
    """(SHA-256 of every spike and register, how many these are), the same on every machine."""
    import hashlib

    import numpy as np

    digest, count = hashlib.sha256(), 0
    for layer in trace.layers:
        for values in (layer.spikes, *(layer.registers[name] for name in sorted(layer.registers))):
            digest.update(np.ascontiguousarray(values, "<i4").tobytes())
            count += values.size
    return digest.hexdigest(), count


def integer_network(neuron: Any) -> Program:
    """Two dense layers with numbers from a recurrence in whole numbers: no library's generator decides on them."""
    import numpy as np

    from decolle_hw.compiler.layers import DenseLayer
    from decolle_hw.compiler.program import Program

    layers, inputs = [], INPUTS
    of_decolle = neuron == "decolle"
    for index, units in enumerate(UNITS):
        drawn = _drawn(units * inputs, 10 + index)
        bias = (_drawn(units, 20 + index) % 60).astype(np.int32)
        layers.append(
            DenseLayer(
                neuron=neuron, weight=(2 * (drawn % 128) - 112).astype(np.int32).reshape(units, inputs), weight_exp=0,
                du=800, dv=500, vth=(800 + 20 * bias if of_decolle else np.full(units, 1600)).astype(np.int32),
                bias_mant=np.zeros(units, np.int32) if of_decolle else bias, bias_exp=3,
                dr=1400 if of_decolle else 0, rho=900 if of_decolle else 0,
                readout_weight=(_drawn(CLASSES * units, 30 + index) % 200 - 100).astype(np.int32).reshape(CLASSES, -1),
                readout_bias=np.zeros(CLASSES, np.int32),
            )
        )  # fmt: skip
        inputs = units
    return Program(
        name=f"doctor-{neuron}", layers=tuple(layers), classes=tuple("abc"), input_shape=(2, 4, 4), steps=STEPS,
        burnin_steps=BURN_IN, target="loihi2", spec_yaml="", checkpoint_sha256="",
    )  # fmt: skip


def integer_spikes() -> np.ndarray:
    """(B, T, I)"""
    import numpy as np

    return (_drawn(BATCH * STEPS * INPUTS, 1) % 5 == 0).astype(np.uint8).reshape(BATCH, STEPS, INPUTS)


def _drawn(count: int, seed: int) -> np.ndarray:
    """Numbers of 16 bits of a linear congruential generator (those of POSIX's drand48)."""
    import numpy as np

    state, values = (seed << 16) + 0x330E, []
    for _ in range(count):
        state = (0x5DEECE66D * state + 0xB) % 2**48
        values.append(state >> 32)
    return np.array(values, np.int64)


def lava() -> str:
    """A network of each neuron in Lava: every register at every step against the integer reference."""
    from decolle_hw.compiler.layers import NEURON_KINDS
    from decolle_hw.execution import lava_runner
    from decolle_hw.sim.compare import compare
    from decolle_hw.sim.reference import run_reference

    run_lava, values = lava_runner(), 0
    for neuron in NEURON_KINDS:
        program = integer_network(neuron)
        reference = run_reference(program, integer_spikes(), record=True)
        comparison = compare(program, reference, run_lava(program, integer_spikes(), record=True))
        if not comparison.equal:
            assert comparison.first is not None
            raise SelfTestError(comparison.first.between("the integer reference", "Lava"))
        values += comparison.compared
    return f"{values:,} values of 2 networks, all equal to the integer reference"


def lava_learning() -> str:
    """One recording shown to a network whose last layer learns, in Lava: every weight against the reference."""
    import numpy as np

    from decolle_hw.execution import lava_runner
    from decolle_hw.sim.compare_learning import compare_learning
    from decolle_hw.sim.learning import learn
    from decolle_hw.sim.learning_state import start_state
    from decolle_hw.sim.random_learning import random_learning_program
    from decolle_hw.sim.random_program import random_spikes

    lava_runner()  # its error says what is missing
    from decolle_hw.lava_backend.learning_runner import learn_in_lava

    rng = np.random.default_rng(4)
    learning = random_learning_program(rng, "decolle", (0,), sizes=(24, 16, 8))
    spikes_RTI = random_spikes(rng, learning.program)[1:2]
    order, targets = np.array([0]), np.array([1])
    reference, _ = learn(learning, start_state(learning, [1]), spikes_RTI, order[None], targets[None], record=True)
    in_lava, _ = learn_in_lava(learning, spikes_RTI, order, targets, seed=1, record=True)
    comparison = compare_learning(learning, reference, in_lava)
    if not comparison.equal:
        assert comparison.first is not None
        raise SelfTestError(comparison.first.between("the integer reference", "Lava"))
    return f"{comparison.compared:,} values (of weights {comparison.per_quantity['weights'][0]:,}), all equal"
