"""What must hold before a run goes on, and what is told where it cannot go on exactly."""

from __future__ import annotations

from pathlib import Path

import torch

from decolle_hw.errors import UsageError
from decolle_hw.nn.network import DecolleNetwork
from decolle_hw.spec import ModelSpec, parse_model_spec
from decolle_hw.training.checkpoints import require_tensors_of
from decolle_hw.training.history import is_complete, stops_early
from decolle_hw.training.runs import RESUME, SPEC, differences, is_finished, resume_command
from decolle_hw.training.state import TrainingState, environment, read_state
from decolle_hw.yamlfile import read_yaml


def require_state_of_run(folder: Path) -> None:
    """Raise `UsageError` where a folder is not a run, or one without a state to go on from."""
    if not (folder / SPEC).is_file():
        raise UsageError(f"{folder}: is not a training run: {SPEC} is missing; `decolle-hw train` writes one")
    if not (folder / RESUME).is_file():
        raise UsageError(
            f"{folder}: cannot be resumed: {RESUME} is missing (an older version wrote this run, or the file was "
            f"removed); train again"
        )


def require_resumable(folder: Path, spec: ModelSpec) -> TrainingState:
    """The state of a run that can go on with `spec`; raises `UsageError` where it cannot."""
    require_state_of_run(folder)
    state = read_state(folder / RESUME)
    written = parse_model_spec(read_yaml(folder / SPEC), str(folder / SPEC))
    for key, now, then in differences(written, state.spec):
        raise UsageError(
            f"{folder / SPEC}: {key} is {now!r}, but the run began with {then!r}: the file was changed since; undo "
            f"that, or train again with the changed description"
        )
    if spec.name != state.spec.name:
        raise UsageError(f"--resume {folder}: is a run of {state.spec.name!r}, not of {spec.name!r}")
    for key, now, then in differences(spec, state.spec):
        raise UsageError(
            f"--resume {folder}: {key} {now!r}: the run began with {then!r} and goes on with it; only "
            f"training.num_epochs and training.early_stop may change; leave it out, or start a new run without --resume"
        )
    _require_work(folder, spec, state)
    return state


def _require_work(folder: Path, spec: ModelSpec, state: TrainingState) -> None:
    training, begun = spec.training, state.epoch + (state.recordings > 0)
    if begun > training.num_epochs:
        raise UsageError(
            f"{folder}: has begun epoch {begun}, which is beyond training.num_epochs {training.num_epochs}; "
            f"give at least --epochs {begun}"
        )
    if not is_finished(folder) or not is_complete(state.history, training):
        return
    if state.epoch >= training.num_epochs:
        raise UsageError(
            f"{folder}: is finished, with {state.epoch} epochs; to train it for longer give more: "
            f"{resume_command(folder)} --epochs {2 * state.epoch}"
        )
    assert stops_early(state.history, training)
    raise UsageError(
        f"{folder}: is finished: it stopped early, after {training.early_stop} epochs without a better test accuracy; "
        f"to train it for longer: {resume_command(folder)} --set training.early_stop=null"
    )


def restore_weights(state: TrainingState, network: DecolleNetwork, data: dict[str, str]) -> None:
    """Put the weights to where they were.

    Args:
        network: of the run's description. data: fingerprint of each split as it is now; `UsageError` where it is
        another than at the beginning.
    """
    for split, found in data.items():
        if found != state.data.get(split):
            raise UsageError(
                f"the {split} recordings of {state.spec.name!r} are not those that the run began with (other files, "
                f"labels or events); put them back, or start a new run without --resume"
            )
    require_tensors_of(network, state.weights, Path(RESUME), state.spec.name)
    network.load_state_dict(state.weights)


def changes_of_environment(state: TrainingState, device: torch.device) -> list[str]:
    """Notes on what is not as it was and may change rounding."""
    now, before = environment(device), state.environment
    changed = [f"{key} {now[key]} (before: {before.get(key)})" for key in now if now[key] != before.get(key)]
    return [f"note: {', '.join(changed)}: the run goes on, but not exact to the bit"] if changed else []
