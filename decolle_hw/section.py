"""Base of every section of a description, and the number types its fields share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

Decay = Annotated[float, Field(ge=0.0, lt=1.0)]
PositiveInt = Annotated[int, Field(ge=1)]
NonNegativeFloat = Annotated[float, Field(ge=0.0)]
PositiveFloat = Annotated[float, Field(gt=0.0)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Steps = Annotated[int, Field(ge=1, le=10**6)]
Units = Annotated[int, Field(ge=1, le=2**20)]  # as many neurons as a Loihi 2 chip has
Microseconds = Annotated[int, Field(ge=1, le=10**12)]  # eleven days
Pixels = Annotated[int, Field(ge=1, le=4096)]

Value = TypeVar("Value")


def _as_texts(names: Any) -> Any:
    """YAML reads the class 3 as a number."""
    if not isinstance(names, list):
        return names
    wrong = [name for name in names if isinstance(name, (bool, float))]
    if wrong:
        raise ValueError(f"{names}: YAML reads a class as {wrong[0]!r}, which is no name; write it in quotes")
    return [str(name) if isinstance(name, int) else name for name in names]


def _are_classes(names: list[str]) -> list[str]:
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise ValueError(f"{names}: class {twice[0]!r} stands in it twice; give each once")
    if len(names) < 2:
        raise ValueError(f"{names}: {len(names)} of at least 2 classes; a single one cannot be told from anything")
    return names


ClassNames = Annotated[list[str], BeforeValidator(_as_texts), AfterValidator(_are_classes)]


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
