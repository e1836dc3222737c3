"""Base of every section of a description, and the number types its fields share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field

Decay = Annotated[float, Field(ge=0.0, lt=1.0)]
PositiveInt = Annotated[int, Field(ge=1)]
NonNegativeFloat = Annotated[float, Field(ge=0.0)]
PositiveFloat = Annotated[float, Field(gt=0.0)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Steps = Annotated[int, Field(ge=1, le=10**6)]
Units = Annotated[int, Field(ge=1, le=2**20)]  # as many neurons as a Loihi 2 chip has
Pixels = Annotated[int, Field(ge=1, le=4096)]

Value = TypeVar("Value")


class Section(BaseModel):
    """Strict: "3" is not 3 and 1.5 is not an int. A description that needs guessing is a wrong description."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def per_layer(value: Value | Sequence[Value], layers: int, key: str) -> list[Value]:
    """One value per layer from a single value, a list of one, or a list of all; `ValueError` names `key`."""
    if not isinstance(value, (list, tuple)):
        return [value] * layers  # type: ignore[list-item]
    if len(value) not in (1, layers):
        raise ValueError(f"{key} {list(value)}: {len(value)} values for {layers} layers; give one, or {layers}")
    return list(value) * layers if len(value) == 1 else list(value)
