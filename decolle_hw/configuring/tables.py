"""Tables of `config show`."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console
from rich.table import Table

from decolle_hw.configuring.keys import SECTIONS
from decolle_hw.configuring.origins import Explanation


def print_explanation(explanation: Explanation, only: str | None, console: Console) -> None:
    """A table per section: key, value, where it is from, what it means."""
    console.print(f"{explanation.spec.name}: {explanation.file}", style="bold", soft_wrap=True)
    for section in ("", *SECTIONS) if only is None else (only,):
        values = explanation.of_section(section)
        table = Table(title=section or None, title_justify="left", title_style="bold")
        for column in ("key", "value", "origin", "meaning"):
            table.add_column(column, overflow="fold")
        for value in values:
            origin = value.origin.replace(str(explanation.file), explanation.file.name)  # the path stands above
            table.add_row(value.key, shown(value.value), origin, value.description)
        console.print(table)


def shown(value: Any) -> str:
    """As it would stand in the YAML, on one line."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
