"""Reading a YAML file, and saying in one line what a pydantic model found wrong with it.

Shared by everything that is described in YAML: networks (`spec`) and deployment targets (`targets`).
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from decolle_hw.errors import SpecError, nearest

# libyaml dies of deep nesting, where Python's own parser raises RecursionError; so short a text cannot nest that deep.
LONGEST_FOR_LIBYAML = 4000


class _Loader(yaml.SafeLoader):
    """Safe YAML in which 1e-3 is a number: YAML 1.1, and so PyYAML, would read it as text."""


class _QuickLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # PyYAML may come without it
    """The same by libyaml, about ten times as fast."""


for _loader in (_Loader, _QuickLoader):
    _loader.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
    )


def parse_yaml(text: str) -> Any:
    """The value behind a YAML text; raises `yaml.YAMLError`."""
    if len(text) <= LONGEST_FOR_LIBYAML:
        try:
            return yaml.load(text, _QuickLoader)
        except yaml.YAMLError:
            pass  # said below, in the words of the parser that names what it expected
    return yaml.load(text, _Loader)  # a SafeLoader: builds plain values only


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file as a mapping; raises `SpecError` with the line where it cannot be read."""
    try:
        values = parse_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: cannot be read: {error}") from None
    except RecursionError:
        raise SpecError(f"{path}: is not YAML for a description: nested too deeply") from None
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise SpecError(f"{path}: is not YAML: {reason}") from None
    if not isinstance(values, dict):
        raise SpecError(f"{path}: expected a mapping of keys, found {type(values).__name__}")
    return values


def key_lines(text: str) -> dict[tuple[str, ...], int]:
    """Line (from 1) at which each key of a YAML text stands, by its path: ("training", "seed")."""
    found: dict[tuple[str, ...], int] = {}

    def walk(node: yaml.Node | None, path: tuple[str, ...]) -> None:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                below = (*path, str(key.value))
                found[below] = key.start_mark.line + 1
                walk(value, below)

    walk(yaml.compose(text, _Loader), ())
    return found


def describe(error: ValidationError, model: type[BaseModel]) -> str:
    """All findings of a pydantic error in one line, unknown keys with the nearest known one."""
    findings = []
    for item in error.errors():
        field = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            known = _known_keys(model, item["loc"][:-1])
            close = difflib.get_close_matches(str(item["loc"][-1]), known, n=1, cutoff=0.5)
            remedy = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(known)}"
            findings.append(f"unknown key {field!r}; {remedy}")
        elif item["type"] == "value_error":
            findings.append(f"{field + ': ' if field else ''}{item['ctx']['error']}")
        elif item["type"] == "literal_error":
            known = re.findall(r"'([^']*)'", item["ctx"]["expected"])
            findings.append(f"{field}: unknown value {item['input']!r}; {nearest(str(item['input']), known)}")
        elif item["type"] in ("model_type", "model_attributes_type"):
            findings.append(f"{field}: {item['input']!r} is not valid: expected keys with values below it")
        elif item["type"] == "missing":
            findings.append(f"{field}: is missing")
        else:
            findings.append(f"{field}: {item['input']!r} is not valid: {item['msg']}")
    return "; ".join(findings)


def _known_keys(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    for part in loc:
        field = model.model_fields.get(str(part))
        # A section that may be left out is annotated `Section | None`.
        kinds = (field.annotation, *get_args(field.annotation)) if field else ()
        sections = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not sections:
            break
        model = sections[0]
    return sorted(model.model_fields)
