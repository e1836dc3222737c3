"""Networks of ours as NIR graphs: what comes back with the sidecar, without it, and what the graph itself does."""

from __future__ import annotations

import dataclasses

import nir
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from decolle_hw.errors import ArtifactError, CompileError, UsageError
from decolle_hw.interchange.float_network import dequantized, simulate
from decolle_hw.interchange.nir_export import export_nir
from decolle_hw.interchange.nir_import import read_nir
from decolle_hw.interchange.nir_quantize import import_nir
from decolle_hw.sim.random_program import random_conv_program, random_program, random_spikes
from decolle_hw.sim.reference import run_reference
from sim_tests.nir_tools import DT, euler, writable
from sim_tests.small_programs import KINDS, make_program, make_spikes

# Sums of at most a few hundred terms, each of which carries the rounding of a gain (2**-52) and of a product.
ROUNDING = 1e-11


def assert_equal_programs(found, expected):
    """Field by field."""
    for name in (field.name for field in dataclasses.fields(expected) if field.name != "layers"):
        assert getattr(found, name) == getattr(expected, name), name
    assert len(found.layers) == len(expected.layers)
    for mine, theirs in zip(found.layers, expected.layers, strict=True):
        assert type(mine) is type(theirs)
        for field in dataclasses.fields(theirs):
            np.testing.assert_array_equal(getattr(mine, field.name), getattr(theirs, field.name), field.name)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("neuron", ["cuba", "decolle"])
def test_the_sidecar_restores_every_field(tmp_path, kind, neuron):
    program = dataclasses.replace(writable(make_program(kind, neuron, 1)), quantization=({"weight_scale": 3.5},))
    exported = export_nir(program, tmp_path / "net.nir")
    imported = import_nir(exported.graph)
    assert_equal_programs(imported.program, program)
    assert imported.warnings == () and "sidecar" in imported.notes[0]


def random_cuba(seed):
    rng = np.random.default_rng(seed)
    if seed % 2:
        return rng, random_conv_program(rng, "cuba", like_quantizer=True, weight_kind="mixed")
    program = random_program(rng, "cuba", like_quantizer=True, weight_kind="mixed", max_delay=seed % 3 * 4)
    return rng, writable(program)


@settings(max_examples=10)
@given(seed=st.integers(0, 10_000))
def test_without_the_sidecar_dynamics_and_integers_are_the_same(tmp_path_factory, seed):
    rng, program = random_cuba(seed)
    exported = export_nir(program, tmp_path_factory.mktemp("nir") / "net.nir")
    exported.sidecar.unlink()
    imported = import_nir(exported.graph, steps=program.steps)
    spikes_RTI = random_spikes(rng, program)
    ours, back = run_reference(program, spikes_RTI), run_reference(imported.program, spikes_RTI)
    for mine, theirs in zip(back.layers, ours.layers, strict=True):
        np.testing.assert_array_equal(mine.spikes, theirs.spikes)
    stands_for, floats = dequantized(program), imported.network
    same_R = np.ones(len(spikes_RTI), bool)  # recordings in which no rounding has turned a spike round
    for layer, mine, theirs in zip(
        program.layers, simulate(floats, spikes_RTI), simulate(stands_for, spikes_RTI), strict=True
    ):
        if not layer.is_pooling:  # whose weights of 2 the graph has as 1
            allowed = ROUNDING * (np.abs(theirs.asked).max() + 1)
            close = np.abs(theirs.asked - layer.vth[0]) <= allowed
            same_R &= ~(close & (mine.asked != theirs.asked)).any((1, 2))
            np.testing.assert_allclose(mine.asked[same_R], theirs.asked[same_R], rtol=0, atol=allowed)
        np.testing.assert_array_equal(mine.spikes[same_R], theirs.spikes[same_R])
    assume(same_R.any())  # small integers often stand on a threshold in every recording


def test_the_random_networks_spike():
    """Otherwise the test above would compare silence."""
    rates = []
    for seed in range(12):
        rng, program = random_cuba(seed)
        rates += run_reference(program, random_spikes(rng, program)).firing_rates()
    assert sum(0.02 < rate < 0.9 for rate in rates) > len(rates) / 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("neuron", ["cuba", "decolle"])
def test_the_graph_itself_does_what_the_integers_stand_for(tmp_path, kind, neuron):
    """Read by the nir package, checks included, and run by an independent simulation, one layer a step apart.

    Without decays the integers are exact, so decolle networks (which have no other float form here) agree with the
    reference in every spike; others are compared with the float network.
    """
    decays = {"du": 4095, "dv": 0, "dr": 0} if neuron == "decolle" else {"du": 900, "dv": 500, "dr": 0}
    program = writable(make_program(kind, neuron, 2, decays))
    graph = nir.read(export_nir(program, tmp_path / "net.nir").graph)
    spikes_RTI = make_spikes(3, recordings=2)
    if neuron == "cuba":
        ours = [trace.spikes for trace in simulate(dequantized(program), spikes_RTI)]
    else:
        ours = [trace.spikes for trace in run_reference(program, spikes_RTI).layers]
    shape = graph.nodes["input"].input_type["input"]
    for recording, spikes_TI in enumerate(spikes_RTI):
        theirs = euler(graph, spikes_TI.reshape(-1, *shape), graph.metadata["dt"])
        for index, layer_RTN in enumerate(ours):
            name = f"layer{index}_lif" if f"layer{index}_lif" in theirs else f"layer{index}_spikes"
            late = program.first_step(index) if neuron == "cuba" else 0
            found_TN = theirs[name][0].reshape(len(spikes_TI), -1)
            assert found_TN.any()
            np.testing.assert_array_equal(found_TN[: len(spikes_TI) - late], layer_RTN[recording, late:])


def test_an_edited_graph_is_not_taken_for_the_integers_beside_it(tmp_path):
    program = writable(make_program("dense", "cuba", 1))
    exported = export_nir(program, tmp_path / "net.nir")
    graph = nir.read(exported.graph)
    graph.nodes["layer1_synapse"].weight[0, 0] += 8
    nir.write(exported.graph, graph)
    imported = import_nir(exported.graph, steps=program.steps)
    assert len(imported.warnings) == 1 and "was changed since it was exported" in imported.warnings[0]
    plain = imported.program.layers[1].plain_weight
    assert plain[0, 0] == program.layers[1].plain_weight[0, 0] + 8
    np.testing.assert_array_equal(plain[1:], program.layers[1].plain_weight[1:])


def test_steps_and_target_may_be_others_than_those_of_the_sidecar(tmp_path):
    program = writable(make_program("dense", "cuba", 1))
    exported = export_nir(program, tmp_path / "net.nir")
    found = import_nir(exported.graph, steps=33, target="loihi1").program
    assert_equal_programs(found, dataclasses.replace(program, steps=33, target="loihi1"))


def test_a_damaged_sidecar_is_an_error_and_not_passed_over(tmp_path):
    exported = export_nir(writable(make_program("dense", "cuba", 1)), tmp_path / "net.nir")
    content = bytearray(exported.sidecar.read_bytes())
    content[len(content) // 2] ^= 1
    exported.sidecar.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"net\.nir\.h5"):
        import_nir(exported.graph)


def test_what_nir_cannot_say_is_refused_layer_by_layer(tmp_path):
    program = make_program("delayed", "decolle", 1)
    with pytest.raises(CompileError, match=r"(?s)layer 0: the synapses of one input.*layer 1.*layer 2"):
        export_nir(program, tmp_path / "net.nir")
    with pytest.raises(CompileError, match="dt -1"):
        export_nir(make_program("dense", "decolle", 1), tmp_path / "net.nir", dt=-1)
    assert list(tmp_path.iterdir()) == []


def test_decolle_neurons_come_back_only_with_their_sidecar(tmp_path):
    exported = export_nir(make_program("dense", "decolle", 1), tmp_path / "net.nir")
    exported.sidecar.unlink()
    words = r"(?s)type CubaLI: is not supported.*type Threshold: .*only with its sidecar"
    with pytest.raises(CompileError, match=words):
        import_nir(exported.graph)


def test_lossy_sums_are_noted(tmp_path):
    program = make_program("dense", "decolle", 1)
    layer = dataclasses.replace(program.layers[0], weight_exp=-3)
    exported = export_nir(dataclasses.replace(program, layers=(layer, *program.layers[1:])), tmp_path / "net.nir")
    assert exported.notes == ("layer 0: the chip rounds its sums down to whole numbers, the graph does not round",)


def test_the_step_is_an_argument_and_stands_in_the_metadata(tmp_path):
    program = writable(make_program("conv", "cuba", 1))
    exported = export_nir(program, tmp_path / "net.nir", dt=1e-3)
    exported.sidecar.unlink()
    assert read_nir(exported.graph).dt == 1e-3 != DT
    assert import_nir(exported.graph).program.layers[0].du == program.layers[0].du


def test_a_place_that_cannot_be_written(tmp_path):
    with pytest.raises(UsageError, match="is a folder"):
        export_nir(writable(make_program("dense", "cuba", 1)), tmp_path)
