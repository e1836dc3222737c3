"""A JSON schema of a model's YAML: editors complete keys, show their doc lines, and underline what is wrong."""

from __future__ import annotations

from typing import Any

from decolle_hw.described import AUTO, AUTO_KEYS
from decolle_hw.spec import ModelSpec

DIALECT = "https://json-schema.org/draft/2020-12/schema"
HINT = "# yaml-language-server: $schema={file}"
LEAST_CLASSES = 2


def json_schema() -> dict[str, Any]:
    """What `decolle_hw.spec` accepts, as far as a schema can say it.

    Rules between keys (lengths of lists, keys of one neuron, sizes that must fit) are not in it; `config show` checks
    those.
    """
    schema: dict[str, Any] = ModelSpec.model_json_schema()
    sections = schema["$defs"]
    dataset = sections["DatasetSpec"]["properties"]
    for key in AUTO_KEYS:
        dataset[key] = _or_auto(dataset[key])
    for section in ("DatasetSpec", "OnChipSpec"):
        _let_classes_be_numbers(sections[section]["properties"]["classes"])
    _drop_titles(schema)
    return {"$schema": DIALECT, "title": "a model of decolle-hw", **schema}


def _or_auto(field: dict[str, Any]) -> dict[str, Any]:
    """A number, or `auto`: found in the recordings."""
    outside: dict[str, Any] = {name: field[name] for name in ("description", "default") if name in field}
    inside = field.get("anyOf") or [{name: value for name, value in field.items() if name not in outside}]
    word = {"const": AUTO, "description": "found in the recordings of a folder"}
    return {**outside, "anyOf": [*inside, word]}


def _let_classes_be_numbers(field: dict[str, Any]) -> None:
    """YAML reads the class 3 as a number, and `decolle_hw.section.ClassNames` takes it as a name."""
    for choice in field["anyOf"]:
        if choice.get("type") == "array":
            choice.update(items={"type": ["string", "integer"]}, minItems=LEAST_CLASSES, uniqueItems=True)


def _drop_titles(part: Any) -> None:
    """Pydantic gives each key its own name once more; editors would show it in place of the doc line."""
    if isinstance(part, dict):
        if isinstance(part.get("title"), str):
            del part["title"]
        for value in part.values():
            _drop_titles(value)
    elif isinstance(part, list):
        for value in part:
            _drop_titles(value)
