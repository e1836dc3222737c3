"""All keys that a description may have, with their doc lines and defaults."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from decolle_hw.spec import ModelSpec

SECTIONS = ("dataset", "network", "training", "on_chip")
Path = tuple[str, ...]


class Key(NamedTuple):
    """A key that holds a value; keys that hold a section have none of their own."""

    path: Path
    description: str
    default: Any  # None where there is none

    @property
    def name(self) -> str:
        """As `--set` takes it."""
        return ".".join(self.path)


def all_keys(model: type[BaseModel] = ModelSpec, above: Path = ()) -> Iterator[Key]:
    """Of a section and those in it, in the order of their definition."""
    for name, field in model.model_fields.items():
        section = section_of(field.annotation)
        if section is None:
            default = field.get_default(call_default_factory=True)
            yield Key((*above, name), field.description or "", None if default is PydanticUndefined else default)
            continue
        if field.default is None:  # a section that may be left out, and is then None
            yield Key((*above, name), field.description or "", None)
        yield from all_keys(section, (*above, name))


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The section behind `Section` or `Section | None`; None for a value."""
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None
