"""The report page as readers see it: in chromium, at three widths, on light and dark paper."""

from __future__ import annotations

import browser
import numpy as np
import page_samples as samples
import pytest

from decolle_hw.page.html import page_html, write_page

pytestmark = pytest.mark.skipif(browser.CHROMIUM is None, reason="no chromium on this machine")

WIDTHS = (400, 800, 1400)
NAMES = ("small", "large", "crowded", "hostile", "bare")
READABLE = 4.5  # contrast of text, WCAG 2 AA
SMALLEST_FONT = 7.0  # pixels, on a telephone
SECTIONS = ["cores", "limiting", "resources", "spikes", "fidelity", "weights", "costs", "target", "notes", "made"]
PAPER = {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 27)"}
PLANTED = (
    '<div style="width:3000px">wide</div><p style="color:#777;background:#666">faint</p>'
    '<svg data-picture="planted" viewBox="0 0 100 20" width="100"><text x="5" y="12" font-size="10">left</text>'
    '<text x="10" y="12" font-size="10">right</text><text x="90" y="12" font-size="10">outside</text>'
    '<rect x="90" width="40" height="5"/></svg>'
    '<img src="http://example.org/picture.png" onerror="window.owned=1"><script>undefinedFunction();</script>'
)


@pytest.fixture(scope="module")
def pages():
    whole = {name: page_html(getattr(samples, name)()) for name in NAMES}
    return {**whole, "planted": whole["bare"].replace("</main>", PLANTED + "</main>")}


@pytest.fixture(scope="module", params=["light", "dark"])
def seen(request, pages, tmp_path_factory):
    """What the probe found on light or dark paper."""
    scheme = browser.DARK if request.param == "dark" else browser.LIGHT
    found = browser.look(pages, WIDTHS, tmp_path_factory.mktemp("page"), scheme)
    assert len(found) == len(pages) * len(WIDTHS)
    assert {view["dark"] for view in found.values()} == {request.param == "dark"}
    assert {view["paper"] for view in found.values()} == {PAPER[request.param]}
    return found


def views(seen):
    """Those of pages that we wrote, with a word on which."""
    return [(f"{name} at {width}", view) for (name, width), view in seen.items() if name != "planted"]


def test_nothing_goes_wrong_and_nothing_is_fetched(seen):
    for where, view in views(seen):
        assert (view["errors"], view["requests"], view["owned"]) == ([], [], None), where
        assert view["elements"] == {"script": 0, "img": 0}, where


def test_nothing_sticks_out(seen):
    for where, view in views(seen):
        assert view["overflow"] <= 0, where
        assert view["clipped"] == [], where


def test_sections_and_pictures_are_there(seen):
    for (name, width), view in seen.items():
        if name in ("small", "large", "crowded", "hostile"):
            assert view["sections"] == SECTIONS, (name, width)
        assert len(set(view["ids"])) == len(view["ids"])
    for where, view in views(seen):
        assert view["pictures"], where
        for picture in view["pictures"]:
            assert picture["width"] > 200 and picture["height"] > 20, (where, picture)
    names = {picture["name"] for picture in seen["large", 800]["pictures"]}
    assert {"cores-by-layer", "cores-by-use", "resources-of-layers", "cores-filled-by", "firing-rates"} <= names
    assert {"accuracy-chain", "energy-of-layers"} <= names
    assert {f"{kind}-{index}" for kind in ("raster", "weights") for index in range(9)} <= names
    assert "✓ fits on Kapoho Point: 300 cores on 3 chips" in seen["large", 400]["verdict"]
    assert "does not fit: 4 problems" in seen["hostile", 400]["verdict"]


def test_words_in_pictures_neither_overlap_nor_leave_them(seen):
    for where, view in views(seen):
        for picture in view["pictures"]:
            assert picture["overlaps"] == [], (where, picture["name"])
            assert picture["outside"] == [], (where, picture["name"])
            assert picture["beyond"] == 0, (where, picture["name"])
            assert picture["smallest"] >= SMALLEST_FONT, (where, picture["name"])


def test_words_are_readable_on_their_paper(seen):
    for where, view in views(seen):
        ratio, text = view["contrast"]
        assert ratio >= READABLE, (where, text)


def test_the_probe_finds_what_is_planted(seen):
    for width in WIDTHS:
        view = seen["planted", width]
        assert view["overflow"] > 1000 and view["contrast"][0] < 2
        planted = view["pictures"][-1]
        assert planted["overlaps"] == ["left | right"] and planted["outside"] == ["outside"] and planted["beyond"] == 1
        assert any("undefinedFunction" in error for error in view["errors"])
        assert any("img-src" in error and "example.org" in error for error in view["errors"])
        assert view["elements"] == {"script": 1, "img": 1}


@pytest.mark.parametrize("planted", [False, True])
def test_chromium_logs_no_complaint_and_no_request(planted, tmp_path):
    """The very file that a user opens, with its own policy; and that a fault would show."""
    write_page(samples.hostile(), tmp_path / "page.html")
    page = tmp_path / "page.html"
    if planted:
        text = page.read_text().replace("img-src data:", "img-src *")
        page.write_text(text.replace("</main>", PLANTED + "</main>"))
    ran = browser.run(
        tmp_path, "--enable-logging=stderr", f"--log-net-log={tmp_path / 'net.json'}", "--dump-dom", page.as_uri()
    )
    complaints = [line for line in ran.stderr.splitlines() if "CONSOLE" in line]
    asked = "http://example.org/picture.png" in (tmp_path / "net.json").read_text()
    assert (bool(complaints), asked) == (planted, planted), complaints
    assert ('id="verdict"' in ran.stdout) and samples.HOSTILE not in ran.stdout


def test_a_picture_of_it_shows_the_colours_of_the_map(tmp_path):
    from matplotlib import image

    write_page(samples.large(), tmp_path / "page.html")
    target = tmp_path / "page.png"
    arguments = (browser.LIGHT, "--window-size=1200,900", f"--screenshot={target}", (tmp_path / "page.html").as_uri())
    browser.run(tmp_path, *arguments)
    shown = np.round(image.imread(target)[..., :3] * 255).astype(int)
    for colour, least in (((255, 255, 255), 100_000), ((0xE6, 0x9F, 0x00), 2000), ((0x00, 0x72, 0xB2), 2000)):
        assert (shown == colour).all(-1).sum() >= least, colour
