"""What a network has learned, as an artifact that runs and goes on learning."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from decolle_hw.compiler.artifact import save_artifact
from decolle_hw.compiler.learning_program import LearningProgram
from decolle_hw.sim.learned import learned_program
from decolle_hw.sim.learning_state import LearningState


def save_learned(learning: LearningProgram, state: LearningState, path: Path) -> LearningProgram:
    """Write the network with its learned weights, which are cut to what a synapse at rest holds (even numbers).

    Returns: the network as it was written.
    Raises: as `decolle_hw.compiler.artifact.save_artifact`.
    """
    program = learned_program(learning, state)
    learned = replace(learning, program=program)
    save_artifact(program, path, learned)
    return learned
