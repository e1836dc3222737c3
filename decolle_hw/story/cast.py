"""Which classes a network is trained on, and which one it meets for the first time on chip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from decolle_hw.data.choosing import in_their_order
from decolle_hw.errors import UsageError

LEAST_KNOWN = 2  # a single class cannot be told from anything


@dataclass(frozen=True)
class Cast:
    """Classes of the story, in the order of the data set."""

    known: tuple[str, ...]  # what the float network is trained on
    new: str | None  # what it learns on chip; None: nothing
    everything: tuple[str, ...]  # both together
    why_none: str = ""  # why nothing is learned on chip

    @property
    def new_label(self) -> int:
        """Of the new class among all of the story."""
        assert self.new is not None
        return self.everything.index(self.new)


def cast_of(classes: Sequence[str], chosen: Sequence[str] | None, wanted: str | None) -> Cast:
    """Hold one class out.

    Args:
        classes: all of the data set.
        chosen: `dataset.classes`; None: all of them.
        wanted: the class to hold out; None: the last one that is not among `chosen`, else the last of all.

    Raises: `SpecError` for a class that there is not, `UsageError` where too few are left to be trained on.
    """
    taken = tuple(classes) if chosen is None else in_their_order(chosen, classes, "dataset.classes")
    if wanted is not None:
        (new,) = in_their_order([wanted], classes, "--new-class")
        known = tuple(name for name in taken if name != new)
        if len(known) < LEAST_KNOWN:
            raise UsageError(
                f"--new-class {wanted}: leaves {', '.join(known) or 'no class'} to be trained on, and a network needs "
                f"{LEAST_KNOWN}; take more classes, or hold out another one"
            )
    else:
        free = [name for name in classes if name not in taken]
        if not free and len(taken) <= LEAST_KNOWN:
            why = (
                f"the data set has {len(taken)} classes, which the float network needs to learn at all; a third one "
                "could be learned on chip"
            )
            return Cast(taken, None, taken, why)
        new = free[-1] if free else taken[-1]
        known = tuple(name for name in taken if name != new)
    return Cast(known, new, tuple(name for name in classes if name == new or name in known))
