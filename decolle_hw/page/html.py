"""Writes the page: one file that opens anywhere without a network, a font or a script.

Every word of the content goes through an escaping template; a Content-Security-Policy in the page forbids scripts and
any request, should a name ever slip through.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decolle_hw.atomic import new_file
from decolle_hw.page.charts import accuracy_chain, energy_bars, filled_by, firing_rates, resource_bars
from decolle_hw.page.content import PageContent
from decolle_hw.page.core_map import core_maps
from decolle_hw.page.histograms import weight_picture
from decolle_hw.page.spikes import raster_picture
from decolle_hw.page.svg import Picture, pattern_definitions, pattern_fill
from decolle_hw.page.tables import core_table, cost_table, headline, not_held, resource_table
from decolle_hw.page.words import number, printable, quantity, rounded, shortened

if TYPE_CHECKING:
    import jinja2

FOLDER = Path(__file__).parent
STYLE = "style.css"


def write_page(content: PageContent, path: Path) -> None:
    """Write the page at `path`, all of it or nothing. Raises `UsageError` where that cannot be written."""
    with new_file(path) as partial:
        partial.write_text(page_html(content), encoding="utf-8")


def page_html(content: PageContent) -> str:
    """The page as text."""
    return rendered("page.html.j2", _values(content))


def rendered(template: str, values: dict[str, Any]) -> str:
    """A template of this folder as the text of a page."""
    return printable(_environment().get_template(template).render(values))


@cache
def _environment() -> jinja2.Environment:
    import jinja2  # imported here: other commands start without it

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(number=number, rounded=rounded, shortened=shortened)
    environment.globals.update(
        quantity=quantity, pattern_fill=pattern_fill, pattern_definitions=pattern_definitions,
        style=(FOLDER / STYLE).read_text(encoding="utf-8"),
    )  # fmt: skip
    return environment


def _values(content: PageContent) -> dict[str, Any]:
    """Everything that the template names."""
    placed, costs = content.placement, content.costs
    return {
        "page": content,
        "placed": placed,
        "headline": headline(content),
        "maps": core_maps(placed),
        "limiting": _present(resource_bars(placed), filled_by(placed)),
        "resources": resource_table(placed),
        "cores": core_table(placed),
        "rasters": _present(*(raster_picture(raster, index) for index, raster in enumerate(content.rasters))),
        "rates": _present(firing_rates(content.rates)),
        "weights": _present(*(weight_picture(weights, index) for index, weights in enumerate(content.weights))),
        "accuracy": _present(accuracy_chain(content.accuracy)),
        "energy": _present(energy_bars(costs) if costs else None),
        "costs": cost_table(costs) if costs else None,
        "not_held": not_held(content),
    }


def _present(*pictures: Picture | None) -> tuple[Picture, ...]:
    return tuple(picture for picture in pictures if picture is not None)
