"""Placement: counted again by an independent checker, compared with all ways there are, and worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from placement_checker import block_of, differences, neurons_of, wirings
from placement_graphs import (
    LOIHI1,
    LOIHI2,
    as_json,
    chain,
    conv_chain,
    dense_chain,
    graphs,
    population,
    targets,
    tiny_graphs,
    tiny_targets,
    with_limits,
)
from placement_optimum import fewest_cores

from decolle_hw.compiler.lowering.graph import INPUT, Connection, Geometry, Graph
from decolle_hw.compiler.lowering.read import graph_of_spec
from decolle_hw.compiler.lowering.stages import lower
from decolle_hw.compiler.placement import Placement, lower_bounds, place, traffic
from decolle_hw.compiler.placement.site import Site
from decolle_hw.compiler.placement.split import Split, longest_range, pack
from decolle_hw.errors import CompileError, SpecError, UsageError
from decolle_hw.library import find_yaml
from decolle_hw.spec import load_model_spec
from decolle_hw.targets import Limit, Target

SLOW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
CORE_RESOURCES = ("neurons", "synaptic memory", "in-axons", "out-axons")


def core_limits(target: Target) -> tuple[Limit, ...]:
    return target.neurons_per_core, target.synaptic_memory_bits, target.in_axons, target.out_axons


@settings(SLOW, max_examples=60)
@given(graphs(), targets(), st.sampled_from([1.0, 0.8, 0.35]))
def test_every_core_of_a_random_network_is_counted_again(graph: Graph, target: Target, utilisation: float) -> None:
    if min(limit.value for limit in core_limits(target)) * utilisation < 1:
        with pytest.raises(UsageError, match="leaves nothing of 1"):
            place(graph, target, utilisation=utilisation)
        return
    placement = place(graph, target, utilisation=utilisation)
    assert differences(graph, as_json(placement), target) == []
    if placement.fits:
        assert len(placement.cores) >= placement.bound


def test_the_checker_finds_what_is_wrong() -> None:
    graph = conv_chain([2, 3], [2, 1], 6, kernel=3)
    target = with_limits(LOIHI2, neurons_per_core=20, usable_cores=4)
    right = as_json(place(graph, target))
    assert differences(graph, right, target) == [] and len(right["cores"]) > 5
    for field, value in (
        ("neurons", 1), ("in_axons", 1), ("out_axons", 1), ("memory_bits", 64), ("rows", [0, 1]), ("chip", 2),
        ("x", 99), ("population", "p1"), ("synapses", 0), ("memory", [1]),
    ):  # fmt: skip
        wrong = as_json(place(graph, target))
        assert wrong["cores"][0][field] != value
        wrong["cores"][0][field] = value
        assert differences(graph, wrong, target), field
    assert differences(graph, right, with_limits(target, neurons_per_core=17))


@settings(SLOW, max_examples=80)
@given(tiny_graphs(), tiny_targets())
def test_bound_and_placement_of_a_tiny_network_against_all_ways_there_are(graph: Graph, target: Target) -> None:
    placement, best = place(graph, target), fewest_cores(graph, target)
    exceeded = [problem for problem in placement.problems if problem.resource in CORE_RESOURCES]
    if best is None:
        assert exceeded
        return
    # Where no split was found although there is one, the problem does not claim that there is none.
    assert all("no split was found" in problem.remedy for problem in exceeded)
    assert placement.bound <= best
    assert exceeded or len(placement.cores) >= best


def test_dense_by_hand() -> None:
    # 4 of 16 neurons per core: idx 2, 10 + 4*8 + 2 = 44 bits, a word for each of 3 inputs.
    placement = place(dense_chain(3, 16, 4), with_limits(LOIHI2, neurons_per_core=4))
    first, second = placement.tilings
    assert (first.cores, second.cores, placement.bound) == (4, 1, 5)
    core = placement.cores_of("p0")[1]
    assert (core.channels, core.rows, core.columns) == ((4, 8), (0, 1), (0, 1))
    assert (core.neurons, core.in_axons, core.out_axons, core.memory_bits, core.synapses) == (4, 3, 4, 192, 12)
    assert (first.limited_by, first.forms) == ("neurons", ("dense",))


def test_convolution_by_hand() -> None:
    # 3 channels of 4x6 from 2 of 4x6, 3x3: 54 weights of 8 bits are 7 words; two pixels of 12 per axon of 2 slots.
    graph = chain((2, 4, 6), ((3, 4, 6), Geometry((3, 3), padding=(1, 1))), ((1, 1, 1), Geometry((4, 6))))
    whole = place(graph, LOIHI2).cores[0]
    assert (whole.neurons, whole.in_axons, whole.out_axons) == (72, 24, 2 * 24)
    assert (whole.memory_bits, whole.synapses) == (7 * 64 + 24 * 64, 54)
    # 36 neurons per core: two halves of 4x3, which see 4x4 of the 4x6 pixels.
    half = place(graph, with_limits(LOIHI2, neurons_per_core=36)).cores[1]
    assert (half.columns, half.neurons, half.in_axons, half.memory_bits) == ((3, 6), 36, 16, (7 + 16) * 64)
    # No shared axons: an in-axon for each of 2 channels of a pixel, an out-axon for each neuron.
    alone = place(graph, with_limits(LOIHI2, axon_atoms=1, shared_axon_slots=1)).cores[0]
    assert (alone.in_axons, alone.out_axons, alone.memory_bits) == (48, 72, (7 + 48) * 64)


def test_plastic_synapses_are_stored_one_by_one() -> None:
    # 3x3 over a map of 1x3 sees each pixel from 2, 3, 2 neurons. 8 + 1 + 8 bits and 2 of index: 10 + 2*19 + 14 = 62,
    # 10 + 3*19 + 14 = 81: one word, two words, one word.
    graph = chain((1, 1, 3), ((1, 1, 3), Geometry((3, 3), padding=(1, 1))))
    plastic = replace(graph, connections=(replace(graph.connections[0], plastic=True),))
    core = place(plastic, LOIHI2).cores[0]
    assert (core.memory_bits, core.in_axons, core.synapses) == (4 * 64, 3, 7)


def test_out_axons_of_one_population_decide_the_cut_of_the_next() -> None:
    # Cut by channels, each of the two cores of p1 needs all pixels; cut by columns, each needs its half only.
    graph = chain((1, 1, 8), ((2, 1, 8), Geometry((1, 1))), ((4, 1, 8), Geometry((1, 1))))
    target = with_limits(LOIHI2, out_axons=16, neurons_per_core=16, axon_atoms=4, shared_axon_slots=2)
    placement = place(graph, target)
    assert placement.fits and placement.tilings[1].split.parts == (1, 1, 2)
    assert [core.out_axons for core in placement.cores] == [16, 0, 0]


def test_the_bound_knows_that_out_axons_multiply_with_the_cores_behind() -> None:
    # A core of p1 sees all 32 neurons of p0 (32 words) and has 14 words more: kernels of 2 channels, 7 words each.
    # So p1 lies on 2 cores, each neuron of p0 takes 2 out-axons, and 16 of them are 8 neurons: 4 cores.
    graph = chain((8, 1, 4), ((8, 1, 4), Geometry((1, 1))), ((4, 1, 4), Geometry((1, 7), padding=(0, 3))))
    target = with_limits(LOIHI2, axon_atoms=1, shared_axon_slots=1, out_axons=16, synaptic_memory_bits=46 * 64)
    placement = place(graph, target)
    assert placement.fits
    assert [(one.cores, one.bound.cores) for one in placement.tilings] == [(4, 4), (2, 2)]
    assert placement.tilings[0].limited_by == "out-axons"


def test_the_bound_of_synapses_stored_one_by_one_is_close() -> None:
    placement = place(conv_chain([16, 16], [1, 1], 64, kernel=3), with_limits(LOIHI1, shared_weights=False))
    assert placement.fits
    assert placement.bound <= len(placement.cores) <= 1.10 * placement.bound


def test_the_bound_knows_that_weights_other_than_zero_need_out_axons() -> None:
    # Half of the 9 neurons behind have no weight at all, 7 fit a core: most sources need one core, or two if their
    # weights lie more than 7 neurons apart.
    mask = np.random.default_rng(0).random((9, 600)) < 0.5
    mask[:, ::10] = False
    graph = chain((2, 10, 10), ((6, 10, 10), Geometry((3, 3), padding=(1, 1))), ((9, 1, 1), None))
    masked = replace(graph, connections=(graph.connections[0], replace(graph.connections[1], nonzero=mask)))
    target = with_limits(LOIHI2, neurons_per_core=150, out_axons=60)
    first, second = lower_bounds(masked, target)
    assert (first.cores, second.cores) == (math.ceil(np.count_nonzero(mask.any(axis=0)) / 60), 1)
    first, second = lower_bounds(masked, with_limits(target, neurons_per_core=7))
    apart = sum(2 if np.ptp(np.flatnonzero(column)) >= 7 else 1 for column in mask.T if column.any())
    assert second.neurons_per_core == 7 and first.by_resource["out-axons"] == math.ceil(apart / 60)


def zoo(name: str) -> Graph:
    spec = load_model_spec(str(find_yaml(name, "models", "model")))
    return lower(graph_of_spec(spec, 11, 8))[-1][1]


@pytest.mark.parametrize("target", [LOIHI1, LOIHI2], ids=lambda target: target.name)
@pytest.mark.parametrize("name", ["nmnist-paper", "dvs-gesture-paper", "nmnist-conv", "nmnist", "digits", "mnist"])
def test_networks_of_the_zoo_take_few_more_cores_than_the_bound(name: str, target: Target) -> None:
    placement = place(zoo(name), target)
    assert placement.fits
    assert len(placement.cores) <= 1.10 * placement.bound
    assert placement.bound == sum(bound.cores for bound in lower_bounds(placement.graph, target))


def test_the_paper_network_is_counted_again_on_its_axes() -> None:
    """Too large for loops over synapses; neurons, kernels and receptive fields of a few cores by hand."""
    placement = place(zoo("nmnist-paper"), LOIHI2)
    assert [tiling.cores for tiling in placement.tilings] == [8, 2, 4, 7, 1]
    for core in placement.cores_of("conv1"):
        assert core.channels[1] - core.channels[0] == 32 and (core.rows, core.columns) == ((0, 16), (0, 16))
        assert (core.in_axons, core.memory_bits) == (256, 32 * 64 * 49 * 8 + 256 * 64)
    assert sum(core.neurons for core in placement.cores) == placement.graph.neurons == 155648


@settings(SLOW, max_examples=25)
@given(graphs(), targets(), st.integers(0, 2**16))
def test_messages_follow_the_activity_of_each_neuron(graph: Graph, target: Target, seed: int) -> None:
    placement = place(graph, target)
    rng = np.random.default_rng(seed)
    rates = {one.name: rng.random(one.shape) for one in graph.populations}
    rates[INPUT] = 0.25
    found = traffic(placement, rates)
    sums: dict[tuple[int, int], float] = {}
    outside = np.zeros(len(placement.cores))
    cores = as_json(placement)["cores"]
    position: dict[str, int] = {}
    for wiring in wirings(graph, target):
        name, source = wiring.connection.target, wiring.connection.source
        form = placement.by_population[name].forms[position.setdefault(name, 0)]
        position[name] += 1
        for core in cores:
            if core["population"] != name:
                continue
            needed = set(wiring.synapses(block_of(core), form))
            if source == INPUT:
                outside[core["index"]] += 0.25 * len(needed)
            for other in cores:
                common = needed & set(neurons_of(block_of(other))) if other["population"] == source else set()
                if common:
                    pair = other["index"], core["index"]
                    sums[pair] = sums.get(pair, 0.0) + sum(rates[source][neuron] for neuron in common)
    pairs = {
        (int(s), int(d)): m for s, d, m in zip(found.source, found.destination, found.messages, strict=True)
    }  # fmt: skip
    assert len(pairs) == len(found.messages)
    assert pairs.keys() == sums.keys()
    # Sums of at most a few hundred numbers below 1, in another order.
    np.testing.assert_allclose([pairs[key] for key in sums], list(sums.values()), rtol=1e-12)
    np.testing.assert_allclose(found.from_outside, outside, rtol=1e-12)


def test_activity_of_a_wrong_shape() -> None:
    placement = place(dense_chain(3, 4, 2), LOIHI2)
    with pytest.raises(UsageError, match=r"activity of p0: \(3,\), expected \(4, 1, 1\)"):
        traffic(placement, {"p0": np.ones(3)})


def test_chips_take_parts_that_talk_to_each_other() -> None:
    target = with_limits(LOIHI1, usable_cores=40, neurons_per_core=64)
    placement = place(conv_chain([4, 4, 4], [1, 1, 1], 32, kernel=3), target)
    assert (len(placement.cores), placement.chips) == (192, 5)
    taken = list(placement.crossings.values())[-1]
    assert taken == min(placement.crossings.values()) == placement.traffic.between_chips
    assert taken < 0.5 * placement.crossings["population by population"]
    whole = placement.traffic
    assert whole.total == pytest.approx(whole.within_core + whole.within_tile + whole.between_tiles + taken)


def web(seed: int) -> Graph:
    """Populations of 5 to 95 neurons that send to each other at random."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(4, 14))
    sizes = (rng.integers(1, 20, count) * 5).tolist()
    connections = [Connection(INPUT, f"p{index}", (4, 1, 1)) for index in range(count)]
    for _ in range(int(rng.integers(count, 3 * count))):
        one, other = rng.integers(0, count, 2)
        connections.append(Connection(f"p{one}", f"p{other}", (sizes[one], 1, 1)))
    return Graph("web", (4, 1, 1), tuple(population(f"p{i}", size) for i, size in enumerate(sizes)), tuple(connections))


def test_every_chip_that_is_counted_holds_a_core() -> None:
    target = with_limits(LOIHI2, neurons_per_chip=100)
    placements = [place(web(seed), target) for seed in range(60)]
    for placement in placements:
        assert {core.chip for core in placement.cores} == set(range(placement.chips))
    assert max(placement.chips for placement in placements) > 5


def test_cores_of_very_different_sizes_fill_their_chips() -> None:
    # 100 neurons per chip: one after the other needs 4 chips, 60 + 40 and 70 + 30 and 55 + 45 only three.
    sizes = (60, 70, 55, 40, 45, 30)
    graph = chain((2, 1, 1), *(((size, 1, 1), None) for size in sizes))
    placement = place(graph, with_limits(LOIHI2, neurons_per_chip=100))
    assert placement.fits and placement.chips == 3
    assert differences(graph, as_json(placement), with_limits(LOIHI2, neurons_per_chip=100)) == []


def problem(placement: Placement) -> list[tuple[Any, ...]]:
    return [(one.population, one.resource, one.needed, one.limit) for one in placement.problems]


def test_what_cannot_fit_is_said_all_at_once() -> None:
    target = with_limits(LOIHI2, in_axons=20, synaptic_memory_bits=1000, out_axons=3)
    placement = place(dense_chain(30, 4, 300, 5), target)
    found = problem(placement)
    assert (("p0", "synaptic memory", 30 * 64, 1000)) in found and ("p0", "in-axons", 30, 20) in found
    assert ("p2", "in-axons", 300, 20) in found
    assert any(one[:2] == ("p0", "out-axons") and one[2] > 3 for one in found)
    assert "p0: in-axons 30, at most 20" in " ".join(map(str, placement.problems))
    assert len(placement.cores) < 310  # what is shown stays sensible


def test_cores_utilisation_and_board() -> None:
    graph = dense_chain(3, 1000, 10)
    target = with_limits(LOIHI1, neurons_per_core=100)
    assert len(place(graph, target, cores=11).cores) == 11 and place(graph, target, cores=11).fits
    assert problem(place(graph, target, cores=9)) == [(None, "cores", 11, 9)]
    assert "2 too many" in str(place(graph, target, cores=9).problems[0])
    spread = place(graph, target, utilisation=0.7)
    assert max(core.neurons for core in spread.cores) <= 70 and len(spread.cores) == 16
    assert spread.limits.neurons == 70
    small = with_limits(target, usable_cores=4)
    assert (place(graph, small).board, place(graph, small).chips) == ("Nahuku", 3)
    kapoho = place(graph, small, board="kapoho bay")
    assert (kapoho.board, problem(kapoho)) == ("Kapoho Bay", [(None, "chips of Kapoho Bay", 3, 2)])
    assert "use Nahuku" in str(kapoho.problems[0])


def test_wrong_arguments() -> None:
    graph = dense_chain(3, 4)
    with pytest.raises(UsageError, match=r"utilisation 1.5: expected a share"):
        place(graph, LOIHI2, utilisation=1.5)
    with pytest.raises(UsageError, match=r"cores 0: expected 1 or more"):
        place(graph, LOIHI2, cores=0)
    with pytest.raises(SpecError, match=r"no board 'Kapoho Bai'"):
        place(graph, LOIHI1, board="Kapoho Bai")
    broken = Graph(
        "broken", (2, 4, 4), (population("a", 3, 4, 4),),
        (
            Connection(INPUT, "a", (2, 4, 4), Geometry((3, 3), groups=2)),
            Connection("a", "a", (1, 1, 5), None),
            Connection("b", "a", (1, 1, 5), None),
            Connection(INPUT, "a", (1, 1, 2), None, nonzero=np.ones((2, 2), bool)),
        ),
    )  # fmt: skip
    with pytest.raises(CompileError) as raised:
        place(broken, LOIHI2)
    text = str(raised.value)
    for part in ("groups 2", "reach over 6 places", "has not the 48 neurons", "no population b", "nonzero (2, 2)"):
        assert part in text


@pytest.mark.parametrize("seed", range(5))
def test_ranges_are_found_in_few_looks(seed: int) -> None:
    """Against every range, one by one; with far fewer looks than the eleven or twelve that halving 3000 takes."""
    rng = np.random.default_rng(seed)
    weights = rng.integers(0, 5, 3000) + (3 * np.sin(np.arange(3000) / 50) ** 2).astype(np.int64)
    before = np.concatenate([[0], np.cumsum(weights)])
    looks = 0

    def fits(split: Split) -> bool:
        nonlocal looks
        looks += 1
        return int(before[split.channels[-1]] - before[split.channels[0]]) <= 100

    edges = pack(3000, 3000, fits)
    assert edges is not None and looks <= 8 * len(edges)
    reach = np.searchsorted(before, before + 100, side="right") - 1  # of a range from each neuron
    assert edges[1:] == tuple(reach[list(edges[:-1])])
    true = int((reach - np.arange(3001)).max())
    assert true <= longest_range(3000, 3000, fits) <= true + edges[1] // 16
    assert longest_range(3000, 9, fits) == 9 and pack(600, 9, fits) == (*range(0, 600, 9), 600)
    assert pack(3, 3, lambda split: split.channels[-1] < 3) is None


def test_work_grows_no_faster_than_neurons(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted: cores of all splits that were looked at, over n log n, for 0.2 and 1.2 million neurons."""
    looked_at = [0]
    use = Site.use

    def counted(self: Site, split: Any, *arguments: Any) -> Any:
        looked_at[0] += split.cores
        return use(self, split, *arguments)

    monkeypatch.setattr(Site, "use", counted)
    work = []
    for side in (64, 160):
        looked_at[0] = 0
        placement = place(conv_chain([16] * 3, [1] * 3, side, kernel=3), LOIHI1)
        assert placement.fits
        work.append(looked_at[0] / (placement.graph.neurons * math.log(placement.graph.neurons)))
    assert work[1] <= work[0]
