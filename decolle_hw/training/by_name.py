"""Classes of torch chosen by name in a description, and their arguments checked against their signatures."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from decolle_hw.errors import SpecError, nearest

REFUSED_ARGUMENTS = {
    "lr": "is training.learning_rate",
    "betas": "is training.betas",
    "differentiable": "has no use here: nothing is differentiated through an update",
    "capturable": "has no use here: updates are not captured in a CUDA graph",
    "last_epoch": "is set by the run",
    "verbose": "has no use here: the learning rate is shown with each epoch",
    "scale_fn": "is a function, which YAML cannot hold",
    "epochs": "counts batches; schedules are stepped per epoch: give total_steps, the number of epochs",
    "steps_per_epoch": "counts batches; schedules are stepped per epoch: give total_steps, the number of epochs",
}
# Arguments of schedules that count epochs. Torch accepts 2.5 for most, and then never meets the epoch it waits for.
COUNTS = {"step_size", "total_iters", "T_max", "T_0", "T_mult", "step_size_up", "step_size_down", "total_steps"}
PER_GROUP = {"base_lr", "max_lr", "base_momentum", "max_momentum"}  # one number, or one for each layer
# What the constructors and update steps of torch raise where a value makes no sense to them.
REFUSALS = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


def public_subclasses(module: Any, base: type) -> dict[str, Any]:
    """Public subclasses of `base` by name."""
    return {
        name: value
        for name, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, base) and value is not base and not name.startswith("_")
    }


def find_class(
    key: str, name: str, classes: dict[str, Any], refused: dict[str, str], others: tuple[str, ...] = ()
) -> Any:
    """The class of that name, however it is capitalised.

    Args:
        key: of the description, for errors. name: as given there. classes: all there are. refused: why some are not
        taken. others: further names that the caller knows.

    Raises `SpecError` with the reason, or with the nearest name.
    """
    spelt = {known.lower(): known for known in classes}.get(name.lower())
    if spelt in refused:
        raise SpecError(f"{key} {spelt}: {refused[spelt]}; choose another")
    if spelt is None:
        raise SpecError(f"{key} {name!r}: is unknown; {nearest(name, {*classes, *others} - refused.keys())}")
    return classes[spelt]


def check_arguments(section: str, given: dict[str, Any], kind: type) -> None:
    """Names and types of arguments against the signature of the class that will get them."""
    parameters = dict(list(inspect.signature(kind).parameters.items())[1:])  # but for parameters or optimizer
    usable = parameters.keys() - REFUSED_ARGUMENTS.keys()
    for key, value in given.items():
        if key in parameters and key in REFUSED_ARGUMENTS:
            raise SpecError(f"{section}.{key}: {REFUSED_ARGUMENTS[key]}")
        if key not in parameters:
            raise SpecError(f"{section}.{key}: {kind.__name__} has no such argument; {nearest(key, usable)}")
        complaint = _complaint(key, value, parameters[key].default)
        if complaint:
            raise SpecError(f"{section}.{key} {value!r}: {kind.__name__} needs {complaint}")
    for key in sorted(usable - given.keys()):
        if parameters[key].default is inspect.Parameter.empty:
            raise SpecError(f"{section}.{key}: is missing; {kind.__name__} has no default for it")


def _complaint(key: str, value: Any, default: Any) -> str | None:
    """What is wrong with the type of an argument; torch itself knows the limits of its value."""
    if value is None and default is None:
        return None
    if isinstance(default, bool) or key in ("foreach", "fused"):
        return None if isinstance(value, bool) else "true or false"
    if isinstance(default, str):
        return None if isinstance(value, str) else "a name"
    if key == "milestones":
        good = isinstance(value, list) and value and all(_is_whole(item) for item in value)
        return None if good else "a list of epochs"
    if isinstance(default, tuple):
        good = isinstance(value, list) and len(value) == len(default) and all(_is_number(item) for item in value)
        return None if good else f"a list of {len(default)} numbers"
    if key in COUNTS:
        return None if _is_whole(value) else "a whole number of epochs, 1 or more"
    if key in PER_GROUP and isinstance(value, list):
        return None if value and all(_is_number(item) for item in value) else "a number, or one for each layer"
    return None if _is_number(value) else "a finite number"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < math.inf


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


@contextmanager
def as_spec_error(where: str) -> Iterator[None]:
    """What torch raises about a value becomes an error that says where the value stands."""
    try:
        yield
    except REFUSALS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SpecError(f"{where}: {reason}") from None
