"""The map of cores: chips as meshes of tiles, the cores of a tile side by side, coloured by layer and by use.

A few thousand cores are drawn one by one; of a thousand or fewer each has a title with its figures. Where cores would
be smaller than `SMALLEST_CELL`, one cell stands for a chip.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from markupsafe import Markup

from decolle_hw.page import svg
from decolle_hw.page.colours import CIVIDIS, OVER, category, cividis, ink_on
from decolle_hw.page.content import MEMORY, CoreUse, PlacementFigures
from decolle_hw.page.svg import Picture, Swatch
from decolle_hw.page.words import bits, number, percent, quantity, shortened, text_width

WIDTH, HEIGHT = 520.0, 420.0
LARGEST_CELL, SMALLEST_CELL = 30.0, 3.0
NUMBERED_CELL = 13.0  # from this size on a core bears the number of its layer
TITLED_CORES = 1000
CHIP_GAP, CAPTION, LABEL = 10.0, 16.0, 11.0  # between chips; height and font of what is written above one
Paint = tuple[str, str]  # fill, pattern


@dataclass(frozen=True)
class Cell:
    """One square of the map and the cores that it stands for."""

    x: float
    y: float
    cores: tuple[CoreUse, ...]


@dataclass(frozen=True)
class Frame:
    """One chip (or the whole board, where a cell is a chip)."""

    x: float
    y: float
    width: float
    height: float
    labels: tuple[str, ...]  # the longest that fits is written above it
    cells: tuple[Cell, ...]
    empty: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Layout:
    """Squares of side `cell` in frames."""

    cell: float
    height: float
    frames: tuple[Frame, ...]
    by_chip: bool  # a cell is a chip

    @property
    def cells(self) -> Iterator[Cell]:
        return (cell for frame in self.frames for cell in frame.cells)


def fullest(core: CoreUse, placed: PlacementFigures) -> tuple[str, float]:
    """The resource of which a core uses the largest share of the limit, and that share."""
    shares = {name: used / placed.limits[name] for name, used in core.used.items()}
    name = max(shares, key=lambda key: shares[key])
    return name, shares[name]


def core_maps(placed: PlacementFigures) -> tuple[Picture, ...]:
    """The map coloured by layer, and by the share of its fullest resource; nothing where there are no cores."""
    if not placed.cores:
        return ()
    layout = lay_out(placed)
    unit = "one square is a chip" if layout.by_chip else "one square is a core, close ones share a tile of the mesh"
    order = {population.name: index for index, population in enumerate(placed.populations)}

    def by_layer(cell: Cell) -> Paint:
        names = [core.population for core in cell.cores]
        return category(order[max(set(names), key=lambda name: (names.count(name), -order[name]))])

    def by_use(cell: Cell) -> Paint:
        shares = [fullest(core, placed)[1] for core in cell.cores]
        return (OVER if max(shares) > 1 else cividis(math.fsum(shares) / len(shares))), ""

    occupied = {core.population for core in placed.cores}
    legend = tuple(
        Swatch(f"{index} {shortened(name)}", *category(index)) for name, index in order.items() if name in occupied
    )  # fmt: skip
    most = " with the layer that has the most cores on it" if layout.by_chip else ""
    what = "mean over its cores of the share" if layout.by_chip else "share"
    lowered = f", of limits lowered to {percent(placed.utilisation)}" if placed.utilisation < 1 else ""
    described = f"{len(placed.cores)} cores on {placed.chips} chips"
    return (
        Picture(
            "cores-by-layer", "Cores by layer", _draw("cores-by-layer", f"{described}, by layer", layout, by_layer,
            placed, order), f"{unit}{most}; empty ones are free", legend, wide=True,
        ),
        Picture(
            "cores-by-use", "Cores by use", _draw("cores-by-use", f"{described}, by use", layout, by_use, placed, {}),
            f"{what} of its limit that the fullest of the four resources of a core takes{lowered}",
            (*_scale(), *([Swatch("above a limit", OVER)] if _any_over(placed) else [])), wide=True,
        ),
    )  # fmt: skip


def lay_out(placed: PlacementFigures) -> Layout:
    """Place frames and cells in WIDTH x HEIGHT so that cells are as large as possible."""
    by_chip: dict[int, list[CoreUse]] = defaultdict(list)
    for core in placed.cores:
        by_chip[core.chip].append(core)
    columns = max(placed.mesh[0], 1 + max(core.x for core in placed.cores))
    rows = max(placed.mesh[1], 1 + max(core.y for core in placed.cores))
    tiles: dict[tuple[int, int, int], list[CoreUse]] = defaultdict(list)
    for core in placed.cores:
        tiles[core.chip, core.x, core.y].append(core)
    per_tile = max(placed.cores_per_tile, *map(len, tiles.values()))
    sub_columns = math.ceil(math.sqrt(per_tile))
    sub_rows = math.ceil(per_tile / sub_columns)
    across, cell = _chips_across(len(by_chip), (columns, sub_columns), (rows, sub_rows))
    if cell < SMALLEST_CELL:
        return _one_cell_per_chip(by_chip)
    tile_gap = _gap(cell)
    width, height = columns * (sub_columns * cell + tile_gap), rows * (sub_rows * cell + tile_gap)
    frames = []
    for position, (chip, cores) in enumerate(sorted(by_chip.items())):
        left = (position % across) * (width + CHIP_GAP)
        top = CAPTION + (position // across) * (height + CHIP_GAP + CAPTION)
        cells, empty = [], []
        for tile_x in range(columns):
            for tile_y in range(rows):
                here = tiles.get((chip, tile_x, tile_y), [])
                for slot in range(per_tile):
                    x = left + tile_x * (sub_columns * cell + tile_gap) + (slot % sub_columns) * cell
                    y = top + tile_y * (sub_rows * cell + tile_gap) + (slot // sub_columns) * cell
                    if slot < len(here):
                        cells.append(Cell(x, y, (here[slot],)))
                    else:
                        empty.append((x, y))
        counted = "1 core" if len(cores) == 1 else f"{len(cores)} cores"
        labels = (f"chip {chip}: {counted}", f"chip {chip}", str(chip))
        frames.append(Frame(left, top, width, height, labels, tuple(cells), tuple(empty)))
    lines = math.ceil(len(by_chip) / across)
    return Layout(cell, lines * (height + CHIP_GAP + CAPTION), tuple(frames), False)


def _chips_across(chips: int, columns: tuple[int, int], rows: tuple[int, int]) -> tuple[int, float]:
    """How many chips stand side by side, and the side of a cell; columns and rows: (of tiles, of cells in a tile)."""
    best = (0.0, 1)
    for across in range(1, chips + 1):
        lines = math.ceil(chips / across)
        wide = _side((WIDTH - 1 - (across - 1) * CHIP_GAP) / across, *columns)
        high = _side(HEIGHT / lines - CHIP_GAP - CAPTION, *rows)
        best = max(best, (min(wide, high, LARGEST_CELL), -across))
    return abs(best[1]), best[0]


def _gap(cell: float) -> float:
    """Between tiles."""
    return min(2.0, cell / 4)


def _side(room: float, tiles: int, per_tile: int) -> float:
    """Of a cell, where `tiles` of them side by side, with their gaps, take `room`."""
    side = (room / tiles - 2.0) / per_tile
    return side if _gap(side) == 2.0 else max(room / tiles / (per_tile + 0.25), 0.0)


def _one_cell_per_chip(by_chip: dict[int, list[CoreUse]]) -> Layout:
    across = math.ceil(math.sqrt(len(by_chip) * WIDTH / HEIGHT))
    cell = min(LARGEST_CELL, (WIDTH - 1) / across)
    cells = tuple(
        Cell((position % across) * cell, CAPTION + (position // across) * cell, tuple(cores))
        for position, (_, cores) in enumerate(sorted(by_chip.items()))
    )
    height = math.ceil(len(by_chip) / across) * cell
    frame = Frame(0, CAPTION, across * cell, height, (f"{len(by_chip):,} chips",), cells, ())
    return Layout(cell, height + CAPTION, (frame,), True)


def _draw(
    name: str, described: str, layout: Layout, paint: Callable[[Cell], Paint], placed: PlacementFigures,
    numbers: dict[str, int],
) -> Markup:  # fmt: skip
    titled = layout.by_chip or len(placed.cores) <= TITLED_CORES
    parts = []
    for frame in layout.frames:
        label = next((words for words in frame.labels if text_width(words, LABEL) < frame.width), "")
        parts.append(svg.text(frame.x, frame.y - 4, label, "muted", LABEL))
        if frame.empty:
            squares = "".join(_square(x, y, layout.cell) for x, y in frame.empty)
            parts.append(svg.path(squares, css="empty"))
        by_paint: dict[Paint, list[Cell]] = defaultdict(list)
        for cell in frame.cells:
            by_paint[paint(cell)].append(cell)
        for (fill, pattern), cells in by_paint.items():
            layers = [(fill, "cell"), *([(svg.pattern_fill(name, pattern), "overlay")] if pattern else [])]
            for some in [[cell] for cell in cells] if titled else [cells]:
                squares = "".join(_square(cell.x, cell.y, layout.cell) for cell in some)
                painted = [svg.path(squares, colour, css) for colour, css in layers]
                parts.append(svg.group(painted, _title(some[0], placed) if titled else ""))
            if numbers and layout.cell >= NUMBERED_CELL and not layout.by_chip:
                parts += [
                    svg.text(cell.x + layout.cell / 2, cell.y + layout.cell / 2 + 3,
                             str(numbers[cell.cores[0].population]), "inside", 9, "middle", ink_on(fill),
                             fill if pattern else "")
                    for cell in cells
                ]  # fmt: skip
    return svg.drawing(name, WIDTH, layout.height, described, parts)


def _square(x: float, y: float, side: float) -> str:
    """Path of a square a little smaller than its cell."""
    inner = f"{side - min(1.0, side / 6):.2f}".rstrip("0").rstrip(".")
    return f"M{x:.1f} {y:.1f}h{inner}v{inner}h-{inner}z"


def _title(cell: Cell, placed: PlacementFigures) -> str:
    """What is shown when the pointer rests on a cell."""
    if len(cell.cores) > 1:
        return _title_of_chip(cell, placed)
    core = cell.cores[0]
    name, share = fullest(core, placed)
    where = f"core {core.index}: {core.population}" + (f", {core.block}" if core.block else "")
    lines = [where, f"chip {core.chip}, tile ({core.x}, {core.y})"]
    for resource, used in core.used.items():
        limit = placed.limits[resource]
        amount = (
            f"{bits(used)} of {bits(limit)}" if resource == MEMORY else f"{number(used)} of {number(limit)}"
        )  # fmt: skip
        lines.append(f"{resource}: {amount} ({percent(used / limit)})")
    if core.busy_ns is not None:
        lines.append(f"busy for {quantity(core.busy_ns, 'ns')} of a time step, estimated")
    return "\n".join([*lines, f"fullest: {name}, {percent(share)}"])


def _title_of_chip(cell: Cell, placed: PlacementFigures) -> str:
    counts: dict[str, int] = defaultdict(int)
    for core in cell.cores:
        counts[core.population] += 1
    name, share = max((fullest(core, placed) for core in cell.cores), key=lambda entry: entry[1])
    held = ", ".join(f"{population} {count}" for population, count in counts.items())
    return f"chip {cell.cores[0].chip}: {len(cell.cores)} cores\n{held}\nfullest: {name}, {percent(share)}"


def _scale() -> list[Swatch]:
    """A legend of the colours of use: every third tabulated one."""
    steps = len(CIVIDIS) - 1
    return [Swatch(f"{100 * index // steps} %", CIVIDIS[index]) for index in range(0, steps + 1, 3)]


def _any_over(placed: PlacementFigures) -> bool:
    return any(fullest(core, placed)[1] > 1 for core in placed.cores)
