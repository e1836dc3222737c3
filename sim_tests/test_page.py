"""The report page without a browser: its words and numbers, its markup, whatever a user's names and numbers are."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
import warnings
from html.parser import HTMLParser

import numpy as np
import page_samples as samples
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decolle_hw.errors import UsageError
from decolle_hw.fidelity.intervals import wilson_interval
from decolle_hw.page import words
from decolle_hw.page.charts import accuracy_chain, energy_bars, resource_bars
from decolle_hw.page.colours import OVER, category, cividis, ink_on
from decolle_hw.page.content import (
    RESOURCES,
    AccuracyStage,
    Costs,
    LayerCost,
    PageContent,
    PlacementFigures,
    PopulationUse,
    Problem,
    Raster,
    Weights,
)
from decolle_hw.page.core_map import WIDTH, core_maps, fullest, lay_out
from decolle_hw.page.histograms import MOST_BINS, bin_edges, weight_picture
from decolle_hw.page.html import page_html, write_page
from decolle_hw.page.spikes import raster_picture
from decolle_hw.page.svg import round_ticks
from decolle_hw.page.tables import cost_table, headline, not_held, resource_table
from decolle_hw.palette import OKABE_ITO

LARGEST_PAGE = 3_000_000  # bytes
few = settings(max_examples=50)  # pages and drawings are larger than what most properties look at
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Structure(HTMLParser):
    """Elements that are open at each point, what they hold, and every attribute that could ask for a file."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.asked: list[str] = []
        self.handlers: list[str] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            if name in ("src", "href", "xlink:href", "action", "data", "srcset", "poster"):
                self.asked.append(value)
            if name.startswith("on"):
                self.handlers.append(name)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def pages():
    """Every sample as text."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return {name: page_html(getattr(samples, name)()) for name in ("small", "large", "crowded", "hostile", "bare")}


@pytest.mark.parametrize("name", ["small", "large", "crowded", "hostile", "bare"])
def test_markup_is_sound_and_asks_for_nothing(pages, name):
    structure = Structure(pages[name])
    assert structure.open == []
    assert structure.asked == ["data:,"], "the empty icon, which keeps browsers from looking for one"
    assert structure.handlers == []
    assert not {"script", "img", "iframe", "object", "image", "use"} & set(structure.tags)
    assert "url(" not in re.sub(r"url\(#[a-z0-9-]+\)", "", pages[name]) and "@import" not in pages[name]
    assert "default-src 'none'" in pages[name]
    assert len(pages[name].encode()) < LARGEST_PAGE


def test_ids_are_unique_and_every_reference_has_its_id(pages):
    for page in pages.values():
        ids = re.findall(r'\bid="([^"]*)"', page)
        assert len(ids) == len(set(ids))
        assert set(re.findall(r"url\(#([^)]*)\)", page)) <= set(ids)


def test_names_are_text_wherever_they_stand(pages):
    page = pages["hostile"]
    assert samples.HOSTILE in "".join(Structure(page).words)
    assert "<script" not in page and "onerror=" not in re.sub(r"&lt;img[^;]*", "", page)
    assert "手書き数字の畳み込み層その一" in page
    assert not set(page) & {chr(code) for code in (*words.UNPRINTABLE, *words.TURNING)}
    page.encode()


@few
@given(st.text(st.characters(), max_size=60))
def test_any_text_may_be_a_name(name):
    content = samples.bare()
    placed = samples.placed([(name, (4, 1, 1), 1)])
    page = page_html(dataclasses.replace(content, name=name, placement=placed, warnings=(name,)))
    structure = Structure(page)
    assert structure.open == [] and structure.asked == ["data:,"]
    shown = words.printable(name).replace("\r\n", "\n").replace("\r", "\n")
    assert shown in "".join(structure.words).replace("\r\n", "\n").replace("\r", "\n")


def test_what_is_absent_is_left_out_and_named(pages):
    assert re.findall(r'<section id="([^"]*)"', pages["bare"]) == ["cores", "limiting", "resources", "notes"]
    assert "This page does not hold: spikes of a recording, firing rates, weights, accuracy" in pages["bare"]
    assert not not_held(samples.small()) and "does not hold" not in pages["small"]
    for absent in ("rasters", "rates", "weights", "accuracy", "limits", "made", "notes", "warnings"):
        assert Structure(page_html(dataclasses.replace(samples.small(), **{absent: ()}))).open == []


def test_verdict_and_every_problem():
    content = samples.small()
    assert "✓ fits" in page_html(content) and "does not fit" not in page_html(content)
    problems = tuple(Problem(f"layer {i}", "in-axons", str(5000 + i), "at most 4096", f"remedy {i}") for i in range(7))
    page = page_html(dataclasses.replace(content, problems=problems))
    assert "✗ does not fit</strong>: 7 problems" in page and "✓ fits" not in page
    for problem in problems:
        assert all(word in page for word in (problem.where, problem.value, problem.remedy))


def test_a_network_without_a_placement_still_has_a_page():
    placed = PlacementFigures((), (PopulationUse("dense0", (10, 1, 1), lower_bound=3),), samples.LIMITS)
    page = page_html(PageContent("none", "loihi2", placed, problems=(Problem("network", "cores", "3", "at most 1"),)))
    assert 'id="cores"' not in page and "lower bound 3" in page
    assert {figure.name: figure.value for figure in headline(PageContent("", "", placed))}["cores"] is None


def test_headline_and_tables_hold_the_figures():
    content = samples.small()
    shown = {figure.name: figure for figure in headline(content)}
    assert shown["cores"].value == 3 and shown["cores"].note == "lower bound 3, 1.00x"
    assert shown["neurons"].value == 612
    table = resource_table(content.placement)
    rows = {row[0]: dict(zip(table.headings, row, strict=True)) for row in (*table.rows, table.total)}
    cores = content.placement.cores
    assert rows["dense0"]["in-axons"] == f"{cores[0].in_axons + cores[1].in_axons:,}"
    assert rows["all"]["memory"] == words.bits(sum(core.memory_bits for core in cores))
    assert rows["all"]["cores"] == rows["all"]["lower bound"] == "3"
    costs = cost_table(content.costs)
    assert costs.rows[1] == ("dense1", "20,000", "500.5", "12.25", "40", "473 nJ")
    assert costs.total[1:] == ("30,000", "1,001", "24.5", "40", "746 nJ")
    page = page_html(content)
    assert samples.ENERGY_LABEL in page and "static power" in page and words.NOT_KNOWN in page


def test_lower_bound_of_the_whole_is_used_where_it_is_given():
    placed = samples.small().placement
    assert placed.lower_bound == 3
    assert dataclasses.replace(placed, bound=2).lower_bound == 2
    unknown = tuple(dataclasses.replace(population, lower_bound=None) for population in placed.populations)
    assert dataclasses.replace(placed, populations=unknown).lower_bound is None


def test_every_core_is_drawn_once_and_titled():
    placed = samples.large().placement
    layout = lay_out(placed)
    places = [(cell.x, cell.y) for cell in layout.cells]
    empty = [place for frame in layout.frames for place in frame.empty]
    assert sorted(core.index for cell in layout.cells for core in cell.cores) == list(range(300))
    assert len(set(places + empty)) == len(places + empty) == 3 * 8 * 4 * 4
    apart = sorted(places + empty)
    for (x, y), (next_x, next_y) in itertools.pairwise(apart):
        assert next_x - x >= layout.cell - 1e-6 or next_y - y >= layout.cell - 1e-6
    assert max(x for x, _ in apart) + layout.cell <= WIDTH
    maps = core_maps(placed)
    assert [drawn.drawing.count("<title>core ") for drawn in maps] == [300, 300]
    name, share = fullest(placed.cores[5], placed)
    assert f"fullest: {name}, {words.percent(share)}" in maps[1].drawing


def test_thousands_of_cores_and_a_thousand_chips_stay_small():
    crowded = samples.crowded().placement
    assert not lay_out(crowded).by_chip and len(core_maps(crowded)[0].drawing) < 300_000
    board = samples.placed([("huge", (1152, 16, 16), 1152 * 16)], usable=16)
    layout = lay_out(board)
    assert layout.by_chip and len(list(layout.cells)) == 1152
    maps = core_maps(board)
    assert "chip 1151: 16 cores" in maps[0].drawing and sum(len(drawn.drawing) for drawn in maps) < 700_000


def test_what_exceeds_a_limit_stands_out():
    placed = samples.placed([("dense0", (10, 1, 1), 2)], over=True)
    assert fullest(placed.cores[0], placed)[1] > 1
    assert OVER in core_maps(placed)[1].drawing
    assert any(entry.label == "above a limit" for entry in core_maps(placed)[1].legend)
    assert "140.0 %" in resource_bars(placed).drawing
    assert not any(entry.label == "above a limit" for entry in core_maps(samples.small().placement)[1].legend)


@few
@given(st.integers(1, 3000), st.integers(1, 700), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_raster_is_small_and_inside(steps, neurons, rate, seed):
    spikes = np.random.default_rng(seed).random((min(steps, 200_000 // neurons), neurons)) < rate
    picture = raster_picture(Raster("layer", spikes), 0)
    assert len(picture.drawing) < 120_000
    marks = re.findall(r"M([\d.]+) ([\d.]+)h([\d.]+)", picture.drawing.split('class="spike"')[0])
    assert bool(marks) or not spikes.any() or "one of" in picture.caption
    for x, y, length in marks:
        assert float(x) >= 0 and float(x) + float(length) <= 400 and 0 <= float(y) <= 200


def test_raster_shows_the_spikes():
    spikes = np.zeros((10, 4))
    spikes[3, 2] = spikes[4, 2] = spikes[9, 0] = 1
    drawn = raster_picture(Raster("layer", spikes), 0)
    commands = re.search(r'd="([^"]*)"[^>]*class="spike"', drawn.drawing)[1]
    width = (400 - 12 - 4 - 6) / 10
    found = [tuple(map(float, mark)) for mark in re.findall(r"M([\d.]+) ([\d.]+)h([\d.]+)", commands)]
    (x_low, y_low, long_low), (x_high, y_high, long_high) = found
    assert (x_low, long_low) == pytest.approx((6 + 9 * width, width), abs=0.06)
    assert (x_high, long_high) == pytest.approx((6 + 3 * width, 2 * width), abs=0.06)
    assert y_high < y_low, "neuron 0 is the lowest row"
    assert raster_picture(Raster("none", np.zeros((0, 4))), 0) is None
    with pytest.raises(ValueError, match="expected \\(T, N\\)"):
        Raster("layer", np.zeros((2, 3, 4)))


@few
@given(
    st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=60), st.one_of(st.just(0.0), st.floats(1e-9, 1e9)),
)  # fmt: skip
def test_bins_hold_every_weight(values, step):
    edges = bin_edges(np.array(values), step)
    assert len(edges) <= MOST_BINS + 2 and (np.diff(edges) > 0).all()
    assert np.histogram(values, edges)[0].sum() == len(values)


@few
@given(st.integers(-127, 127), st.integers(0, 127), st.floats(1e-6, 1e3))
def test_bins_are_centred_on_the_grid(low, span, step):
    edges = bin_edges(np.array([low * step, (low + span) * step]), step)
    per_bin = round((edges[1] - edges[0]) / step)
    assert edges[0] / step == pytest.approx(low - 0.5, abs=1e-6) and per_bin >= 1
    assert np.diff(edges) == pytest.approx(per_bin * step)


def test_weights_name_what_is_shown():
    picture = weight_picture(Weights("layer", np.array([0.0, 0.5, 0.5, 1.0]), 0.5, None, 2, 0.25), 3)
    assert picture.caption == (
        "4 weights; 2 bits; step 0.5; 25.0 % are zero; rms error 25.0 % of the rms weight; count on a linear scale"
    )
    assert [entry.label for entry in picture.legend] == ["quantized"]
    mostly_zero = np.concatenate([np.zeros(10_000), np.arange(40) / 10])
    assert "logarithmic" in weight_picture(Weights("layer", mostly_zero, 0.1, mostly_zero), 0).caption
    assert weight_picture(Weights("none", np.array([np.nan]), 1.0), 0) is None


def test_accuracy_has_its_wilson_interval():
    drawn = accuracy_chain((AccuracyStage("float", 353, 360),))
    low, high = wilson_interval(353, 360)
    assert f"98.1 % ({100 * low:.1f}–{100 * high:.1f})" in drawn.drawing
    assert "the axis does not start at zero" in drawn.caption
    assert "start at zero" not in accuracy_chain((AccuracyStage("poor", 1, 360),)).caption
    with pytest.raises(ValueError, match="361 of 360"):
        AccuracyStage("float", 361, 360)


def test_energy_without_figures_has_no_picture():
    assert energy_bars(Costs((LayerCost("dense0", 1, 1, 1, 1),))) is None
    assert cost_table(Costs((LayerCost("dense0", 1, 1, 1, 1),))).rows[0][-1] == words.NOT_KNOWN


def test_placement_figures_are_checked():
    with pytest.raises(ValueError, match="limits: in-axons"):
        PlacementFigures((), (), {**samples.LIMITS, "in-axons": 0})
    with pytest.raises(ValueError, match="cores of unknown populations: dense0"):
        PlacementFigures(samples.bare().placement.cores, (), samples.LIMITS)
    assert tuple(samples.bare().placement.cores[0].used) == RESOURCES


def test_the_file_is_whole_or_not_there(tmp_path):
    write_page(samples.bare(), tmp_path / "new" / "page.html")
    assert (tmp_path / "new" / "page.html").read_text(encoding="utf-8") == page_html(samples.bare())
    assert [entry.name for entry in (tmp_path / "new").iterdir()] == ["page.html"]
    with pytest.raises(UsageError, match="is a folder"):
        write_page(samples.bare(), tmp_path)


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (12345.6, "pJ", "12.3 nJ"), (0.5, "pJ", "500 fJ"), (1000.0, "pJ", "1 nJ"), (999.96, "pJ", "1 nJ"),
        (0, "pJ", "0 pJ"), (12_400.0, "ns", "12.4 µs"), (1500, "messages", "1,500 messages"), (None, "mW", "not known"),
        (float("nan"), "pJ", "not known"), (1e40, "pJ", "1e+28 J"), (1e-40, "pJ", "1e-52 J"), ("core 2", "", "core 2"),
        (10**30, "", "1e+30"), (10**400, "", "over 10^300"), (0.123456, "", "0.1235"), (-2.5e6, "pJ", "-2.5 µJ"),
    ],
)  # fmt: skip
def test_quantities(value, unit, expected):
    assert words.quantity(value, unit) == expected


@few
@given(st.floats(allow_nan=True, allow_infinity=True) | st.integers(), st.sampled_from(["pJ", "ns", "", "bytes"]))
def test_any_number_has_words(value, unit):
    assert len(words.quantity(value, unit)) < 40 and len(words.rounded(value)) < 30


@few
@given(st.text(max_size=80), st.floats(20, 200))
def test_fitted_words_fit(text, width):
    shown = words.fit(text, width, 11)
    assert shown == words.ELLIPSIS or words.text_width(shown, 11) <= width
    assert shown == text or words.ELLIPSIS in shown


@few
@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_round_and_inside(low, spread):
    ticks = round_ticks(low, low + spread)
    assert 1 <= len(ticks) <= 6
    slack = 1e-6 * spread + 1e-9 * abs(low)
    assert all(low - slack <= tick <= low + spread + slack for tick in ticks)


def test_colours_are_told_apart_and_read():
    assert len({category(index) for index in range(21)}) == 21
    assert (cividis(-1.0), cividis(0.0), cividis(1.0)) == ("#00224E", "#00224E", "#FEE838")
    lightness = [int(cividis(share / 20)[1:3], 16) + int(cividis(share / 20)[3:5], 16) for share in range(21)]
    assert lightness == sorted(lightness)
    for colour in (*OKABE_ITO, OVER, *(cividis(share / 20) for share in range(21))):
        assert contrast(colour, ink_on(colour)) >= 4.5


def contrast(first: str, second: str) -> float:
    """WCAG 2 contrast ratio."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.03928 else math.pow((part + 0.055) / 1.055, 2.4) for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)
