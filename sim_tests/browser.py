"""Debian's chromium, headless, as the tests of the page use it: one start looks at many pages in many widths.

Each page is copied with a probe in it and shown in a frame as wide as the screen it stands for; the probes report to
the page around the frames, whose DOM chromium prints.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-default-apps", "--no-first-run",
    # Chromium asks its makers for the time and more: nothing leaves this machine.
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--virtual-time-budget=20000",
)  # fmt: skip
DARK = "--blink-settings=preferredColorScheme=0"
LIGHT = "--blink-settings=preferredColorScheme=1"
PROBE = (Path(__file__).parent / "page_probe.js").read_text()


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Start chromium with a profile of its own in `folder`."""
    assert CHROMIUM is not None
    profile = folder / "profile"
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def probed(page: str) -> str:
    """The page with the probe in it and scripts allowed; whatever else its policy forbids stays forbidden."""
    allowed = page.replace("default-src 'none';", "default-src 'none'; script-src 'unsafe-inline';", 1)
    assert allowed != page
    copy = allowed.replace("</title>", f"</title>\n<script>{PROBE}</script>", 1)
    assert copy != allowed
    return copy


def look(pages: dict[str, str], widths: tuple[int, ...], folder: Path, scheme: str) -> dict[tuple[str, int], Any]:
    """What the probe found in each page at each width."""
    frames = []
    for index, page in enumerate(pages.values()):
        (folder / f"{index}.html").write_text(probed(page), encoding="utf-8")
        frames += [
            f'<iframe src="{index}.html" name="{index}/{width}" style="width:{width}px;height:900px;border:0"></iframe>'
            for width in widths
        ]
    around = (
        "<!DOCTYPE html><pre id='found'></pre><script>const found={};addEventListener('message',event=>{"
        "found[event.data.name]=event.data;"
        "document.getElementById('found').textContent=JSON.stringify(found);});</script>" + "".join(frames)
    )
    (folder / "around.html").write_text(around, encoding="utf-8")
    printed = run(folder, scheme, "--dump-dom", (folder / "around.html").as_uri()).stdout
    match = re.search(r"<pre id=\"found\">(.*?)</pre>", printed, re.DOTALL)
    assert match is not None, printed[:500]
    found = json.loads(html.unescape(match[1]))
    names = list(pages)
    return {(names[int(key.split("/")[0])], int(key.split("/")[1])): value for key, value in found.items()}
