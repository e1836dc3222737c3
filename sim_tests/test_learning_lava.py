"""On-chip learning: the reference equals Lava after every epoch, nothing is helped from outside, faults are seen."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from learning_tools import Case, compared, first_difference, random_case, teaching_case, with_plastic

from decolle_hw.compiler.layers import NeuronKind
from decolle_hw.compiler.plasticity import Rule

try:
    from decolle_hw.lava_backend import learning_runner
    from decolle_hw.lava_backend.learning_processes import PyErrorUnits, PyPlasticLif, TapedLearningDense
except ImportError as error:
    if sys.version_info < (3, 11):
        raise  # there Lava is an ordinary dependency: what the project claims must not go untested in silence
    pytest.skip(f"lava cannot be imported: {error}", allow_module_level=True)

NEURONS: tuple[NeuronKind, ...] = ("cuba", "decolle")
UPDATES = 1_000_000  # compared in `test_a_million_updates`, at least


@pytest.fixture(scope="module")
def total(request: pytest.FixtureRequest) -> Iterator[Counter[str]]:
    """What was compared with Lava by the tests of this module; printed at their end."""
    counts: Counter[str] = Counter()
    yield counts
    text = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\nequal to Lava: {text}", end=" ")


def in_lava(case: Case) -> Any:
    return learning_runner.learn_in_lava(
        case.learning, case.recordings, case.order, case.targets, seed=case.seed, record=True
    )  # fmt: skip


def check(case: Case, total: Counter[str]) -> None:
    """Everything that both have, and the weights at the end."""
    learned, state = case.reference()
    lava, weights = in_lava(case)
    assert first_difference(learned, lava) is None, first_difference(learned, lava)
    np.testing.assert_array_equal(learned.decisions, lava.decisions)
    for layer, weight in weights.items():
        np.testing.assert_array_equal(state.weights(case.learning, layer)[0], weight)
    total.update(compared(learned))


def test_a_million_updates(total: Counter[str]) -> None:
    """Hidden and output layer learn at once, by the rule of the design; thousands of weights change."""
    counts: Counter[str] = Counter()
    for neuron in NEURONS:
        check(teaching_case(1, neuron, shown=3, sizes=(100, 100, 100, 6)), counts)  # a step of Lava costs the most
    assert counts["synaptic updates"] >= UPDATES and counts["of them that changed a weight"] > 10_000, counts
    total.update(counts)


LAYERS = st.sampled_from([(0,), (1,), (0, 1), (0, 2), (2,)])


@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**20), neuron=st.sampled_from(NEURONS), plastic=LAYERS)
def test_random_rules(seed: int, neuron: NeuronKind, plastic: tuple[int, ...], total: Counter[str]) -> None:
    """Any rule, traces, epochs and loops, of one and two plastic layers, frozen ones below, between and above."""
    check(random_case(seed, neuron, plastic, shown=5, sizes=(40, 30, 20, 12)), total)


@pytest.mark.parametrize("neuron", NEURONS)
def test_above_convolutions_and_pooling(neuron: NeuronKind, total: Counter[str]) -> None:
    """Whose spikes arrive late, and of whose last steps some fall into the next recording."""
    check(random_case(3, neuron, (0,), shown=4, convolutional=True), total)


def test_nothing_but_spikes_and_targets_comes_from_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """One command to run, no reading or writing of a variable, and the only files that are read stay as they were."""
    from lava.magma.runtime.runtime import Runtime

    case = teaching_case(2, "decolle", shown=3)
    starts: list[int] = []
    built: list[Any] = []
    start, runner = Runtime.start, learning_runner.run_network

    def counted(self: Any, condition: Any) -> None:
        starts.append(condition.num_steps)
        start(self, condition)

    def forbidden(*_: Any) -> None:
        raise AssertionError("the host touched a variable")

    def watched(source: Any, *arguments: Any) -> None:
        tapes = {process.name: process.proc_params._parameters.get("tape") for process in _network(source)}
        sources = {name: tape for name, tape in tapes.items() if name in ("the input", "the target")}
        before = {name: np.array(tape.open("spikes")) for name, tape in sources.items()}
        runner(source, *arguments)
        for name, tape in sources.items():
            np.testing.assert_array_equal(before[name], tape.open("spikes"))
        np.testing.assert_array_equal(np.unique(before["the target"].sum(1)), [0, 1])
        built.extend(type(process).__name__ for process in _network(source))

    monkeypatch.setattr(Runtime, "start", counted)
    monkeypatch.setattr(Runtime, "set_var", forbidden)
    monkeypatch.setattr(Runtime, "get_var", forbidden)
    monkeypatch.setattr(learning_runner, "run_network", watched)
    learned, _ = case.reference()
    lava, _ = in_lava(case)
    assert first_difference(learned, lava) is None
    assert starts == [3 * case.learning.slot]
    assert Counter(built) == {
        "RecordedSpikes": 2, "Dense": 1 + 2 * 2, "Decolle": 1, "LearningDense": 2, "PlasticDecolle": 2, "ErrorUnits": 2
    }  # fmt: skip


def _network(process: Any) -> set[Any]:
    """All processes that are connected with one."""
    from lava.magma.compiler.compiler_graphs import find_processes

    return find_processes(process)


class WrongPhase(TapedLearningDense):
    """Learns one step too early in every epoch."""

    def lrn_guard(self) -> bool:
        return bool((self.time_step + 1) % self._learning_rule.t_epoch == 0)


class LateError(PyErrorUnits):
    """Compares the readout with the target of the step before."""

    def run_spk(self) -> None:
        held, port = getattr(self, "held", None), self.target_in
        now = port.recv()

        class Held:
            def recv(self) -> np.ndarray:
                return now * 0 if held is None else held

        self.target_in, self.held = Held(), now
        super().run_spk()
        self.target_in = port


class GateAfterReset(PyPlasticLif):
    """Gates the third factor with the voltage that a spike has reset."""

    def send_learning_signals(self, spikes: np.ndarray, potential: np.ndarray) -> None:
        super().send_learning_signals(spikes, self.v)


@pytest.fixture(scope="module")
def faultless() -> tuple[Case, Any, Any]:
    """A case, its run in the reference, and that in Lava; both are equal."""
    case = teaching_case(3, "cuba", shown=3, sizes=(30, 30, 20, 4))
    learned, (lava, _) = case.reference()[0], in_lava(case)
    assert first_difference(learned, lava) is None
    return case, learned, lava


@pytest.mark.parametrize("fault", ["shift", "trace", "teach", "gate", "decay", "seed", "target"])
def test_a_fault_of_the_reference_is_seen(fault: str, faultless: tuple[Case, Any, Any]) -> None:
    case, _, lava = faultless
    wrong, targets, seed = case.learning, case.targets.copy(), case.seed
    hidden, output = wrong.plastic
    if fault == "shift":
        first, *others = hidden.rule.products
        wrong = with_plastic(wrong, 0, rule=Rule((replace(first, exponent=first.exponent + 1), *others)))
    elif fault == "trace":
        wrong = with_plastic(wrong, 1, x1=replace(output.x1, tau=output.x1.tau + 0.5))
    elif fault == "teach":
        wrong = replace(wrong, teach=(wrong.teach[0] + 8, wrong.teach[1]))
    elif fault == "gate":
        wrong = with_plastic(wrong, 0, gate_width=hidden.gate_width // 2)
    elif fault == "decay":
        wrong = with_plastic(wrong, 0, error=replace(hidden.error, decay=hidden.error.decay + 200))
    elif fault == "seed":
        seed += 1
    else:
        targets[0] = (targets[0] + 2) % 4
    learned, _ = case._replace(learning=wrong, targets=targets, seed=seed).reference()
    assert first_difference(learned, lava) is not None


@pytest.mark.parametrize("fault", [WrongPhase, LateError, GateAfterReset])
def test_a_fault_in_lava_is_seen(
    fault: type, faultless: tuple[Case, Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    case, learned, _ = faultless
    models = {
        process: fault if issubclass(fault, model) else model
        for process, model in learning_runner.LEARNING_MODELS.items()
    }  # fmt: skip
    assert fault in models.values()
    monkeypatch.setattr(learning_runner, "LEARNING_MODELS", models)
    lava, _ = in_lava(case)
    assert first_difference(learned, lava) is not None
