"""The pages build without a complaint, and what is built asks nothing of any other machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from docs_rules import ROOT

pytest.importorskip("mkdocs", reason="test extra: pip install -e '.[docs]'")

# Attributes that a browser loads by itself; a link that a reader may follow is none.
LOADED = {
    "script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "audio": "src", "embed": "src",
    "link": "href", "use": "href", "object": "data",
}  # fmt: skip
ELSEWHERE = re.compile(r"(?:https?:)?//", re.IGNORECASE)


class Resources(HTMLParser):
    """What a page loads, and the anchors that it has."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if given.get(LOADED.get(tag, "")):
            self.loaded.append(str(given[LOADED[tag]]))
        if given.get("id"):
            self.anchors.add(str(given["id"]))


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}  # a word of the theme's makers about a version to come
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return folder


def test_nothing_is_loaded_from_elsewhere(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 15
    for page in pages:
        resources = Resources(page.read_text(encoding="utf-8"))
        assert resources.loaded, page
        foreign = [url for url in resources.loaded if ELSEWHERE.match(url)]
        assert not foreign, f"{page.relative_to(site)} loads {', '.join(foreign)}"
        # With a repository named, the theme's script asks its host for stars.
        assert 'data-md-component="source"' not in page.read_text(encoding="utf-8"), page
    for sheet in site.rglob("*.css"):
        foreign = re.findall(r"(?:url\(|@import )[\"']?((?:https?:)?//[^\"')]+)", sheet.read_text(encoding="utf-8"))
        assert not foreign, f"{sheet.relative_to(site)} loads {', '.join(foreign)}"


def test_the_scan_sees_foreign_resources():
    page = (
        '<script src="https://cdn.example/a.js"></script><img src="//b/c.png"><a href="https://d">d</a><link href="e">'
    )
    assert Resources(page).loaded == ["https://cdn.example/a.js", "//b/c.png", "e"]
    assert [bool(ELSEWHERE.match(url)) for url in Resources(page).loaded] == [True, True, False]


@pytest.mark.parametrize(
    "page, name",
    [
        ("description", "decolle_hw.spec_network.NetworkSpec"),
        ("data", "decolle_hw.data.load.load_split"),
        ("training", "decolle_hw.nn.neurons.decolle_chunk"),
        ("compiling", "decolle_hw.compiling.pipeline.compile_network"),
        ("running", "decolle_hw.sim.reference.run_reference"),
        ("running", "decolle_hw.lava_backend.runner.run_lava"),
        ("fidelity", "decolle_hw.fidelity.chain.run_chain"),
        ("learning", "decolle_hw.sim.learning.learn"),
    ],
)
def test_reference_has_the_docstrings(site, page, name):
    html = (site / "api" / f"{page}.html").read_text(encoding="utf-8")
    assert name in Resources(html).anchors
    assert "DocstringSection" not in html and "::: " not in html


def test_sections_that_other_pages_point_to_exist(site):
    """mkdocs itself only looks at the files of links, not at the sections."""
    anchors = {page: Resources(page.read_text(encoding="utf-8")).anchors for page in site.rglob("*.html")}
    for page in (ROOT / "docs").rglob("*.md"):
        for target, section in re.findall(r"\]\(([^)\s#]*)#([^)\s]+)\)", page.read_text(encoding="utf-8")):
            if target.startswith("http"):
                continue
            source = (page.parent / target).resolve() if target else page
            built = site / source.relative_to(ROOT / "docs").with_suffix(".html")
            assert section in anchors[built], f"{page.name}: {target or page.name} has no section {section!r}"
