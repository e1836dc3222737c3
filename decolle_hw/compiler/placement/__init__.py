"""Neurons to cores: how populations are cut, a lower bound, and where on the chips of a board the blocks go.

`place` is the way in; `decolle_hw.compiler.placement.model` states what a core holds.
"""

from decolle_hw.compiler.placement.bounds import PopulationBound, lower_bounds
from decolle_hw.compiler.placement.model import RESOURCES, Limits
from decolle_hw.compiler.placement.place import place
from decolle_hw.compiler.placement.result import Core, Placement, Problem, Tiling, TrafficFigures
from decolle_hw.compiler.placement.split import Split
from decolle_hw.compiler.placement.traffic import Activity, Traffic, traffic

__all__ = [
    "RESOURCES",
    "Activity",
    "Core",
    "Limits",
    "Placement",
    "PopulationBound",
    "Problem",
    "Split",
    "Tiling",
    "Traffic",
    "TrafficFigures",
    "lower_bounds",
    "place",
    "traffic",
]
