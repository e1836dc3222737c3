"""Every block of the pages below docs runs, every command that they name exists, every link leads somewhere."""

from __future__ import annotations

import re

import pytest
import yaml
from docs_library import make_library
from docs_rules import NOT_RUN, ROOT, SHRUNK
from docs_runner import Block, Reader, blocks_of, inline_commands, lines_of, pages, parses

WRITTEN = [ROOT / "README.md", ROOT / "models" / "README.md", *pages()]
NAMES = {page: str(page.relative_to(ROOT)) for page in WRITTEN}


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return make_library(tmp_path_factory.mktemp("library"))


@pytest.mark.parametrize("page", [page for page in pages() if blocks_of(page)], ids=NAMES.get)
def test_blocks_of_a_page_run_in_order(page, library, tmp_path, digits_drawn_once):
    Reader(tmp_path / "page", library).follow(page)


@pytest.mark.parametrize("page", WRITTEN, ids=NAMES.get)
def test_commands_in_text_parse(page):
    wrong = [problem for command in inline_commands(page) if (problem := parses(command)) is not None]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("page", WRITTEN, ids=NAMES.get)
def test_links_and_pictures_exist(page):
    text = page.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    missing = [
        target for target in targets
        if not target.startswith(("http", "#", "mailto:")) and not (page.parent / target.partition("#")[0]).exists()
    ]  # fmt: skip
    assert not missing, f"{NAMES[page]}: {', '.join(missing)} do not exist"


def test_every_exception_is_used():
    """A line of the table that no page needs any more is one that hides something."""
    typed = [line for page in WRITTEN for block in blocks_of(page) for _, line in lines_of(block)]
    for rule in NOT_RUN:
        assert any(re.match(rule.pattern, line) for line in typed), f"no page has {rule.pattern!r} any more"
    assert {rule.command for rule in SHRUNK} <= {line.split()[1] for line in typed if line.startswith("decolle-hw ")}


def test_limits_page_has_every_limit():
    """Value and confidence of the target file, nothing that it does not have."""
    limits = yaml.safe_load((ROOT / "deploy" / "loihi2.yaml").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "loihi2-limits.md").read_text(encoding="utf-8")
    shown = {name: (value, word) for name, value, word in re.findall(r"^\| `(\w+)` \| ([^|]+) \| (\w+) \|", page, re.M)}
    written = {}
    for name, limit in limits.items():
        if isinstance(limit, dict) and "value" in limit:
            value = limit["value"]
            text = ", ".join(map(str, value)) if isinstance(value, list) else f"{value:,}"
            written[name] = ("yes" if value is True else text, limit["confidence"])
    assert shown == written


BAD = {
    "unknown language": ("python3", "print(1)", "unknown language 'python3'"),
    "no language": ("", "decolle-hw train", "unknown language ''"),
    "unlisted program": ("bash", "curl example.org", "neither run nor listed"),
    "unknown option": ("bash", "decolle-hw targets --colour", "exit code 2"),
    "wrong input": ("bash", "decolle-hw train no-such-model", "exit code 2"),
    "a refusal that does not come": ("bash", "decolle-hw targets loihi2  # exit code 2", "exit code 0, not 2"),
    "no such target": ("bash", "make everything", "no target 'everything'"),
    "no such extra": ("bash", "pip install -e '.[tests]'", "no extra 'tests'"),
    "no such benchmark": ("bash", "python benchmarks/nothing.py", "does not exist"),
    "option of no benchmark": ("bash", "python benchmarks/placement.py --turget loihi2", "does not accept"),
    "unknown key": ("yaml", "network: {Mhid: [3], alhpa: 0.9}", "alhpa"),
    "unknown section": ("yaml", "netwrok: {Mhid: [3]}", "netwrok"),
    "no mapping": ("yaml", "- 1", "no mapping"),
    "no such folder": ("bash", "cd nowhere", "no folder nowhere"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_block_fails(what, library, tmp_path):
    language, text, message = BAD[what]
    reader = Reader(tmp_path / "page", library)
    with pytest.raises(AssertionError, match=re.escape(message)):
        reader.read(Block(tmp_path / "bad.md", 1, language, None, text))


def test_python_fails_at_its_line(library, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("One.\n\n```python\na = 1\n```\n\nTwo.\n\n```python\nprint(a)\nb = a / 0\n```\n")
    reader = Reader(tmp_path / "page", library)
    with pytest.raises(ZeroDivisionError) as raised:
        reader.follow(page)
    assert raised.traceback[-1].lineno == 11 - 1  # pytest counts from 0


def test_a_reader_keeps_state_and_shares_what_is_done(library, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        '```text title="sub/note.txt"\nhello\n```\n```bash\ncd sub\ncat note.txt  # read it\n'
        "decolle-hw targets \\\n    loihi2 --json t.json\n```\n```python\nimport json\n"
        'print(json.load(open("t.json"))["loihi2"]["name"])\n```\n'
    )
    reader = Reader(tmp_path / "page", library)
    reader.follow(page)
    assert reader.printed[-1] == "loihi2\n" and (tmp_path / "page" / "sub" / "note.txt").read_text() == "hello\n"


@pytest.mark.parametrize(
    "command, problem",
    [
        ("decolle-hw trian", "no command 'trian'"),
        ("decolle-hw train --epoch 3", "No such option"),
        ("decolle-hw compile --weight-bits 9", "9 is not in the range"),
        ("decolle-hw train MODEL --set training.num_epochs=5", None),
        ("decolle-hw compile --target loihi2|loihi1", None),
        ("decolle-hw --help", None),
    ],
)
def test_parsing_tells_wrong_commands(command, problem):
    found = parses(command)
    assert (found is None) if problem is None else (found is not None and problem in found), found
