"""NIR graphs of every node that is supported, against an independent simulation; and all that is refused, and how."""

# T steps

from __future__ import annotations

import nir
import numpy as np
import pytest

from decolle_hw.errors import CompileError
from decolle_hw.interchange.float_network import simulate
from decolle_hw.interchange.nir_import import DT_IS_GUESSED, OWN_SOURCE, RESET_IS_GUESSED, read_nir
from sim_tests.nir_tools import DT, conv, cuba, euler, lif, sink, source, write

STEPS = 20
DT_NOTE, RESET_NOTE = f"dt: {DT_IS_GUESSED}", f"reset: {RESET_IS_GUESSED}"
GUESSES = {DT_NOTE, RESET_NOTE}


def random(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.3, 1.0, shape)


def dense(seed: int, outputs: int, inputs: int) -> nir.Linear:
    return nir.Linear(random(seed, outputs, inputs))


MAP, FLAT = (2, 7, 6), 84
GRAPHS = {
    "linear and lif": [source(9), dense(1, 6, 9), lif(6, r=8.0), sink(6)],
    "affine, leak and resistance": [
        source(9), nir.Affine(random(1, 6, 9), random(2, 6)), lif(6, r=5.0, leak=0.4), sink(6),
    ],
    "thresholds and resistances per neuron": [
        source(9), dense(1, 6, 9), lif(6, r=4 + np.arange(6), vth=1 + 0.3 * np.arange(6)), sink(6),
    ],
    "cuba": [source(9), dense(1, 6, 9), cuba(6, r=6.0, w_in=2.0, leak=0.1), dense(2, 4, 6), cuba(4, r=9.0), sink(4)],
    "integrate and fire": [source(9), dense(1, 6, 9), nir.IF(np.full(6, 1 / DT), np.full(6, 1.5)), sink(6)],
    "one parameter for all": [source(9), dense(1, 6, 9), lif(1, r=8.0), dense(2, 4, 6), lif(r=8.0), sink(4)],
    "no synapse": [source(9), lif(9, r=30.0, vth=1.5), lif(9, r=10.0), sink(9)],
    "two matrices": [source(9), dense(1, 7, 9), nir.Affine(random(2, 5, 7), random(3, 5)), lif(5, r=4.0), sink(5)],
    "delay": [source(9), nir.Delay(DT * np.arange(9)), dense(1, 6, 9), lif(6, r=8.0), sink(6)],
    "convolutions": [
        source(*MAP), conv(random(1, 4, 2, 3, 3), (7, 6), padding=1, bias=random(2, 4)), lif(4, 7, 6, r=3.0),
        conv(random(3, 6, 2, 3, 3), (7, 6), stride=2, dilation=2, padding=2, groups=2), lif(6, 4, 3, r=5.0),
        nir.Flatten({"input": np.array([6, 4, 3])}, start_dim=0), dense(4, 5, 72), lif(5, r=3.0), sink(5),
    ],
    "axes apart": [
        source(*MAP), conv(random(1, 3, 2, 3, 2), (7, 6), stride=(2, 1), padding=(1, 0), dilation=(1, 2)),
        lif(3, 4, 4, r=3.0), sink(3, 4, 4),
    ],
    "padding by name": [
        source(*MAP), conv(random(1, 3, 2, 4, 3), (7, 6), padding="same"), lif(3, 7, 6, r=3.0),
        conv(random(2, 3, 3, 3, 2), (7, 6), padding="valid"), lif(3, 5, 5, r=3.0), sink(3, 5, 5),
    ],
    "thresholds per channel": [
        source(*MAP), conv(random(1, 3, 2, 3, 3)), lif(3, 1, 1, r=4.0, vth=np.array([1.0, 2.0, 0.5])[:, None, None]),
        sink(3, 5, 4),
    ],
    "bias per place": [source(*MAP), conv(random(1, 3, 2, 3, 3)), lif(3, 5, 4, leak=random(2, 3, 5, 4)), sink(3, 5, 4)],
    "flat maps": [source(*MAP), nir.Flatten({"input": np.array(MAP)}, 0), dense(1, 6, FLAT), lif(6, r=8.0), sink(6)],
}  # fmt: skip


def pooled(kernel, stride, padding, *then):
    pool = nir.SumPool2d(np.array(kernel), np.array(stride), np.array(padding))
    return [source(*MAP), pool, *then]


GRAPHS |= {
    "pooling alone": pooled((2, 3), (2, 3), (0, 0), lif(2, 3, 2, r=5.0, vth=1.5), sink(2, 3, 2)),
    "pooling and convolution": pooled(
        (2, 2), (2, 2), (0, 0), conv(random(1, 4, 2, 2, 2)), lif(4, 2, 2, r=3.0), sink(4, 2, 2)
    ),
    "padded pooling and convolution": pooled(
        (3, 2), (2, 2), (1, 0), conv(random(1, 4, 1, 3, 3), padding=1, dilation=1, groups=2), lif(4, 4, 3, r=3.0),
        sink(4, 4, 3),
    ),
    "pooling that leaves a row, before padding": pooled(
        (2, 2), (2, 2), (0, 0), conv(random(1, 4, 2, 3, 3), padding=1), lif(4, 3, 3, r=3.0), sink(4, 3, 3)
    ),
    "pooling twice": pooled(
        (2, 2), (1, 1), (0, 0), nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])),
        lif(2, 3, 2, r=2.0), sink(2, 3, 2),
    ),
    "pooling and matrix": pooled(
        (2, 2), (2, 2), (0, 0), nir.Flatten({"input": np.array([2, 3, 3])}, 0), dense(1, 5, 18), lif(5, r=3.0), sink(5)
    ),
    "convolution and pooling": [
        source(*MAP), conv(random(1, 3, 2, 2, 2), bias=random(2, 3)),
        nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])), lif(3, 3, 2, r=1.0), sink(3, 3, 2),
    ],
    "spikes pooled by or": [
        source(*MAP), conv(random(1, 3, 2, 2, 2)), lif(3, 6, 5, r=5.0),
        nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])), lif(3, 3, 2, tau=DT, vth=0.5),
        nir.Flatten({"input": np.array([3, 3, 2])}, 0), dense(2, 5, 18), lif(5, r=5.0), sink(5),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", GRAPHS)
def test_dynamics_are_those_of_the_equations(tmp_path, name):
    """Every spike and potential of forward Euler; a layer runs one step later for each synapse up to it."""
    nodes = GRAPHS[name]
    path = write(tmp_path / "net.nir", *nodes)
    network = read_nir(path).network
    shape = nodes[0].input_type["input"]
    spikes_TI = (np.random.default_rng(7).random((STEPS, int(np.prod(shape)))) < 0.3).astype(np.uint8)
    theirs = euler(nir.read(path, type_check=False), spikes_TI.reshape(STEPS, *shape), DT)
    assert len(theirs) == len(network.layers)
    for index, (trace, layer) in enumerate(zip(simulate(network, spikes_TI[None]), network.layers, strict=True)):
        late = network.first_step(index)
        spikes, asked = (values.reshape(STEPS, -1)[: STEPS - late] for values in theirs[layer.name])
        assert 0 < spikes.mean() < 1
        # Thresholds that differ among neurons are counted in units of the largest one.
        vth = nodes[int(layer.name)].v_threshold
        vth = vth.reshape(-1) if vth.size == layer.num_neurons else np.broadcast_to(vth, layer.map_shape).reshape(-1)
        # Some hundred sums in double precision: 1e-16 of the largest each.
        allowed = 1e-12 * np.abs(asked).max()
        if not layer.is_pooling:
            np.testing.assert_allclose(trace.asked[0, late:] * vth / layer.vth, asked, rtol=0, atol=allowed)
        np.testing.assert_array_equal(trace.spikes[0, late:], spikes)
        assert not trace.spikes[0, :late].any()


def test_what_is_shared_stays_shared(tmp_path):
    """Pooling goes into a wider kernel where that is the same, else into a matrix; an OR is the compiler's own."""
    for name, kind in (
        ("pooling and convolution", "Convolution"),
        ("padded pooling and convolution", "Convolution"),
        ("pooling that leaves a row, before padding", "Matrix"),
        ("pooling twice", "Convolution"),
        ("pooling and matrix", "Matrix"),
    ):
        reading = read_nir(write(tmp_path / "net.nir", *GRAPHS[name]))
        assert type(reading.network.layers[0].synapse).__name__ == kind, name
        assert any("are one matrix" in note for note in reading.notes) == (kind == "Matrix")
    network = read_nir(write(tmp_path / "net.nir", *GRAPHS["spikes pooled by or"])).network
    assert [layer.is_pooling for layer in network.layers] == [False, True, False]


def test_a_step_of_other_length(tmp_path):
    nodes = [source(3), dense(1, 4, 3), lif(4, tau=0.01), sink(4)]
    for path, given, expected in (
        (write(tmp_path / "a.nir", *nodes), None, DT),
        (write(tmp_path / "b.nir", *nodes), 1e-3, 1e-3),
        (write(tmp_path / "c.nir", *nodes, dt=2e-3), None, 2e-3),
        (write(tmp_path / "d.nir", *nodes, dt=2e-3), 2e-3, 2e-3),
    ):
        reading = read_nir(path, dt=given)
        assert reading.dt == expected
        assert reading.network.layers[0].voltage_keep == pytest.approx(1 - expected / 0.01, rel=1e-12)
    with pytest.raises(CompileError, match=r"dt: is not one.*0.002.*0.001.*leave --dt out"):
        read_nir(tmp_path / "c.nir", dt=1e-3)
    with pytest.raises(CompileError, match="must be a positive number"):
        read_nir(tmp_path / "a.nir", dt=float("nan"))


REFUSED = {
    "AvgPool2d": [source(*MAP), nir.AvgPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])), lif(2, 3, 3)],
    "Conv1d": [source(2, 9), nir.Conv1d(9, random(1, 3, 2, 3), 1, 0, 1, 1, np.zeros(3)), lif(3, 7)],
    "Scale": [source(4), nir.Scale(np.ones(4)), lif(4)],
    "Threshold": [source(4), nir.Threshold(np.ones(4))],
    "LI": [source(4), lif(4), nir.LI(np.ones(4), np.ones(4), np.zeros(4))],
    "CubaLI": [source(4), lif(4), nir.CubaLI(np.ones(4), np.ones(4), np.ones(4), np.zeros(4))],
    "I": [source(4), lif(4), nir.I(np.ones(4))],
    "NIRGraph": [source(4), nir.NIRGraph({"i": source(4), "o": sink(4)}, [("i", "o")]), lif(4)],
}


@pytest.mark.parametrize("kind", REFUSED)
def test_other_nodes_are_refused_by_name(tmp_path, kind):
    with pytest.raises(CompileError, match=f"type {kind}: is not supported, node \\('[12]'\\); ") as raised:
        read_nir(write(tmp_path / "net.nir", *REFUSED[kind], sink(4)), approximate=True)
    assert raised.value.exit_code == 2


def test_all_that_is_wrong_is_in_one_message(tmp_path):
    path = write(
        tmp_path / "net.nir", source(4), nir.Scale(np.ones(4)), nir.Threshold(np.ones(4)), dense(1, 4, 4),
        lif(4, tau=np.nan), nir.Affine(np.full((4, 4), np.inf), np.zeros(4)), lif(4, vth=np.array([1, 1, np.nan, 1])),
        sink(4), edges=[("0", "1"), ("1", "2"), ("2", "3"), ("3", "4"), ("4", "3"), ("4", "5"), ("5", "6"), ("6", "9")],
    )  # fmt: skip
    with pytest.raises(CompileError) as raised:
        read_nir(path)
    for what in ("type Scale", "type Threshold", "node '4': feeds 2 nodes ('3', '5')", "node '3': hears 2 nodes",
                 "no node '9'", "'4' (LIF): tau: 4 of 4", "'5' (Affine): weight: 16 of 16",
                 "v_threshold: 1 of 4 values are not finite"):  # fmt: skip
        assert what in str(raised.value)
    first, *problems = str(raised.value).splitlines()
    assert first.endswith("net.nir: cannot be compiled:") and len(problems) >= 8


WRONG = {
    "weight takes 5 inputs, shape \\(4,\\) arrives": [source(4), dense(1, 3, 5), lif(3), sink(3)],
    "put a Flatten before it": [source(*MAP), dense(1, 3, FLAT), lif(3), sink(3)],
    "tau: is of shape \\(4,\\), the neurons are of shape \\(3,\\)": [source(4), dense(1, 3, 4), lif(4), sink(3)],
    "takes 5 values, 3 arrive": [source(4), dense(1, 3, 4), lif(3), sink(5)],
    "feeds the output, which must be spikes": [source(4), lif(4), dense(1, 3, 4), sink(3)],
    "has no layer between": [source(4), sink(4)],
    "is of shape \\(1, 2, 3, 4\\)|is of shape \\(2, 2, 3, 4\\)": [source(2, 2, 3, 4), lif(4), sink(4)],
    "tau is 5e-05 s, shorter than a step": [source(4), lif(4, tau=DT / 2), sink(4)],
    "tau is 0, must be positive": [source(4), lif(4, tau=0), sink(4)],
    "tau is 10 s, 1e\\+05 steps.*decays on chip end at 8192 steps; is dt right": [source(4), lif(4, tau=10), sink(4)],
    "v_threshold is -1 above the reset": [source(4), lif(4, vth=-1), sink(4)],
    "v_threshold is 0..1 above": [source(4), lif(4, vth=np.array([0, 1, 1, 1])), sink(4)],
    "takes maps \\(channels, height, width\\), shape \\(4,\\)": [source(4), conv(random(1, 2, 2, 3, 3)), lif(2)],
    "kernel \\(9, 9\\) does not fit": [source(*MAP), conv(random(1, 2, 2, 9, 9)), lif(2, 1, 1), sink(2, 1, 1)],
    "2 channels arrive; weight \\(2, 3, 3, 3\\)": [source(*MAP), conv(random(1, 2, 3, 3, 3)), lif(1), sink(40)],
    "input_shape is \\(9, 9\\), shape": [source(*MAP), conv(random(1, 2, 2, 3, 3), (9, 9)), lif(1), sink(40)],
    "padding 'same' with stride": [source(*MAP), conv(random(1, 2, 2, 3, 3), (7, 6), padding="same", stride=2), lif(1)],
    "stride is \\[0, 0\\]": [source(*MAP), conv(random(1, 2, 2, 3, 3), stride=(0, 0)), lif(1), sink(40)],
    "start_dim 1 to end_dim -1 are not axes": [source(4), nir.Flatten({"input": np.array([4, 1])}, 1), lif(4), sink(4)],
    "delays on chip|70..70 steps, on chip 0..63": [source(4), nir.Delay(np.full(4, 70 * DT)), dense(1, 3, 4), lif(3)],
    "a convolution hears delayed spikes": [
        source(*MAP), nir.Delay(np.full(MAP, DT)), conv(random(1, 2, 2, 3, 3)), lif(1), sink(40),
    ],
    "must come right after neurons": [source(4), dense(1, 4, 4), nir.Delay(np.full(4, DT)), lif(4), sink(4)],
}  # fmt: skip


@pytest.mark.parametrize("message", WRONG)
def test_wrong_graphs(tmp_path, message):
    nodes = WRONG[message]
    nodes = nodes if isinstance(nodes[-1], nir.Output) else [*nodes, sink(4)]
    # Nothing of this can be approximated, except for a decay that is too slow.
    with pytest.raises(CompileError, match=message) as raised:
        read_nir(write(tmp_path / "net.nir", *nodes), approximate="8192" not in message)
    assert "net.nir: cannot be compiled:" in str(raised.value)


INEXACT = {
    "v_reset is 0.2": ([source(9), dense(1, 6, 9), lif(6, r=8.0, reset=0.2), sink(6)], 0.2),
    "tau differs within the layer": (
        [source(9), dense(1, 6, 9), lif(6, r=8.0, tau=DT * np.array([8, 8, 8, 9, 9, 9])), sink(6)], 0.15,
    ),
    "tau_mem differs within the layer": (
        [source(9), dense(1, 6, 9), cuba(6, r=8.0, tau_mem=DT * np.array([8, 8, 8, 9, 9, 9])), sink(6)], 0.15,
    ),
    "the bias before it is filtered by tau_syn": (
        [source(9), nir.Affine(random(1, 6, 9), np.full(6, 0.1)), cuba(6, r=8.0), sink(6)], 0.15,
    ),
    "differ within a channel": (
        [source(*MAP), conv(random(1, 2, 2, 3, 3)), lif(2, 5, 4, r=5 + 0.5 * random(2, 2, 5, 4)), sink(40)], 0.2,
    ),
    "tau is 1e-01 s|tau is 10 s, 1e\\+05 steps": ([source(9), dense(1, 6, 9), lif(6, tau=10, r=4e4), sink(6)], 0.01),
    "is no multiple of dt": ([source(9), nir.Delay(np.full(9, 1.2 * DT)), dense(1, 6, 9), lif(6, r=8.0), sink(6)], 1.0),
}  # fmt: skip


@pytest.mark.parametrize("message", INEXACT)
def test_what_is_not_exact_is_refused_or_approximated_and_noted(tmp_path, message):
    nodes, share = INEXACT[message]
    path = write(tmp_path / "net.nir", *nodes)
    with pytest.raises(CompileError, match=f"({message}).*\\(--approximate: "):
        read_nir(path)
    reading = read_nir(path, approximate=True)
    assert ["approximated: " in note for note in reading.notes if GUESSES.isdisjoint({note})] == [True]
    shape = nodes[0].input_type["input"]
    spikes_TI = (np.random.default_rng(3).random((STEPS, int(np.prod(shape)))) < 0.3).astype(np.uint8)
    found = simulate(reading.network, spikes_TI[None])[0].spikes[0, 1:]
    if share < 1:  # a delay between steps has no truth in steps
        name = reading.network.layers[0].name
        theirs = euler(nir.read(path, type_check=False), spikes_TI.reshape(STEPS, *shape), DT)[name][0]
        wrong = (found != theirs.reshape(STEPS, -1)[:-1]).mean()
        assert wrong < share * theirs.mean() * 2


def test_steps_of_sinabs_and_norse(tmp_path):
    """IF with r = 1 is meant in steps there; the note says what to do, and then it is."""
    path = write(tmp_path / "net.nir", source(4), nir.IF(np.ones(4), np.ones(4)), sink(4))
    assert any("give a dt of 1" in note for note in read_nir(path).notes)
    reading = read_nir(path, dt=1.0)
    assert reading.notes == (RESET_NOTE,) and reading.network.layers[0].synapse.weight.max() == 1.0


def test_what_a_graph_leaves_open_is_said_once(tmp_path):
    """The step where nobody gave one, the reset of a graph that is not ours; whatever number of layers it has."""
    nodes = [source(4), lif(4), lif(4), sink(4)]
    path = write(tmp_path / "a.nir", *nodes)
    assert read_nir(path).notes == (DT_NOTE, RESET_NOTE) and "0.0001 s" in DT_NOTE
    assert read_nir(path, dt=5e-4).notes == (RESET_NOTE,)
    assert read_nir(write(tmp_path / "b.nir", *nodes, dt=5e-4)).notes == (RESET_NOTE,)
    assert read_nir(write(tmp_path / "c.nir", *nodes, dt=5e-4, source=OWN_SOURCE)).notes == ()


@pytest.mark.parametrize(
    ("where", "nodes"),
    [
        ("'2' \\(LIF\\): weights before it.*the largest is 1.25e\\+199",
         [source(4), nir.Linear(np.full((3, 4), 1e200)), lif(3)]),
        ("'3' \\(LIF\\): weights before it.*the largest is inf",
         [source(3), nir.Linear(np.full((3, 3), 1e200)), nir.Linear(np.full((3, 3), 1e200)), lif(3)]),
        ("'1' \\(LIF\\): weights before it.*the largest is 1.25e-201", [source(3), lif(3, r=1e-200)]),
        ("'1' \\(LIF\\): biases.*the largest is", [source(3), lif(3, leak=1e200)]),
        ("'1' \\(LIF\\): v_threshold: the largest is 1e-200", [source(3), lif(3, vth=1e-200)]),
        ("'2' \\(CubaLIF\\): biases.*the largest is inf",
         [source(3), nir.Affine(np.ones((3, 3)), np.ones(3)), cuba(3, tau_syn=1e30, tau_mem=1e200, w_in=1e40)]),
    ],
)  # fmt: skip
def test_numbers_beyond_reckoning_are_named(tmp_path, where, nodes):
    with pytest.raises(CompileError, match=where):
        read_nir(write(tmp_path / "a.nir", *nodes, sink(3)), approximate=True)


def test_one_chain_only(tmp_path):
    nodes = [source(4), lif(4), lif(4), sink(4), source(4), sink(4)]
    with pytest.raises(CompileError, match=r"(?s)has 2 nodes of type Input.*2 nodes of type Output"):
        read_nir(write(tmp_path / "a.nir", *nodes))
    nodes = [source(4), lif(4), sink(4), lif(4)]
    with pytest.raises(CompileError, match="not on the way from input to output \\('3'\\)"):
        read_nir(write(tmp_path / "b.nir", *nodes, edges=[("0", "1"), ("1", "2")]))
    with pytest.raises(CompileError, match="'1': feeds itself"):
        read_nir(write(tmp_path / "c.nir", *nodes[:3], edges=[("0", "1"), ("1", "1"), ("1", "2")]))
    with pytest.raises(CompileError, match="ends at '1'"):
        read_nir(write(tmp_path / "d.nir", *nodes[:3], edges=[("0", "1")]))
