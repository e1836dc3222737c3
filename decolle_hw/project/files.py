"""The files of a new project as text."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from decolle_hw.described import MODEL_FILE
from decolle_hw.inspecting.found import shown
from decolle_hw.project.plan import LISTED_CLASSES, Plan
from decolle_hw.yamlfile import parse_yaml

if TYPE_CHECKING:
    import jinja2

FOLDER = Path(__file__).parent
LABELS = "labels.csv"
COLUMN = 30  # where comments stand; a tab before them in the template

LABELS_COMMENT = """\
# Each recording is a class of its own until you edit this file: give recordings of one kind the same class.
# Recordings are found by their names below the folder; lines that begin with # do not count.
"""


def project_files(plan: Plan, recordings: Sequence[str]) -> dict[str, str]:
    """Name and text of each file.

    Args: recordings: names for `labels.csv`, in the order of the plan's classes; used where these are one each.
    """
    texts = {
        MODEL_FILE: _aligned(_rendered("model.yaml.j2", plan)),
        "README.md": _rendered("README.md.j2", plan),
        ".gitignore": _rendered("gitignore.j2", plan),
    }
    if plan.own_classes:
        texts[LABELS] = labels_csv(recordings, plan.classes)
    return texts


def labels_csv(recordings: Sequence[str], classes: Sequence[str]) -> str:
    """A table that `dataset.labels` reads."""
    text = io.StringIO()
    text.write(f"recording,class\n{LABELS_COMMENT}")
    csv.writer(text, lineterminator="\n").writerows(zip(recordings, classes, strict=True))
    return text.getvalue()


def scalar(value: str) -> str:
    """A text as YAML, in quotes only where it would be something else without."""
    try:
        plain = (
            parse_yaml(value) == value
            and value == value.strip()
            and ": " not in value
            and " #" not in value
            and value.isprintable()
        )
    except yaml.YAMLError:
        plain = False
    return value if plain else json.dumps(value, ensure_ascii=False)


def _rendered(template: str, plan: Plan) -> str:
    # A name that is not UTF-8 cannot stand in YAML, not even in a comment.
    lists_them = len(plan.classes) <= LISTED_CLASSES and all(shown(name) == name for name in plan.classes)
    values = asdict(plan) | {
        "burn_in": plan.burn_in, "drop": plan.drop, "learning_rate": plan.learning_rate,
        "inspected": plan.dataset != "digits", "describe": _described(plan),
        "few_classes": f"[{', '.join(map(_in_list, plan.classes))}]" if lists_them and not plan.own_classes else "",
    }  # fmt: skip
    return _environment().get_template(template).render(values)


def _in_list(name: str) -> str:
    return scalar(name) if not set(name) & set(",[]{}") else json.dumps(name, ensure_ascii=False)


def _described(plan: Plan) -> str:
    shape = "-".join(map(str, (*plan.channels, *plan.units)))
    return f"{plan.found}; {plan.network} {shape}, {plan.neuron} neuron"


def _environment() -> jinja2.Environment:
    import jinja2  # imported here: other commands start without it

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER), undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters["scalar"] = scalar
    return environment


def _aligned(text: str) -> str:
    """Comments below each other."""
    lines = []
    for line in text.split("\n"):
        content, tab, comment = line.rpartition("\t")
        lines.append(f"{content:<{COLUMN - 2}}  {comment}" if tab else line)
    return "\n".join(lines)
