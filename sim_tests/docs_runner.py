"""A reader who goes through a page and types everything that it shows.

Every fenced block of a page is read in order, in one folder of the page: lines of `bash` are typed, with the commands
of decolle-hw called in this process; `python` runs as it stands, in one namespace per page; `yaml` must describe a
model, or a part of one; `text`, `json` and `csv` are shown only. A block with ``title="FILE"`` is a file that the
reader saves. What is not done exactly as written stands in `docs_rules`.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import yaml
from click.testing import CliRunner
from docs_rules import LANGUAGES, NOT_RUN, PLAIN, ROOT, SHOWN, SHRUNK, TYPED

from decolle_hw.cli import cli

FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^`\n]*)\n(?P<body>.*?)^(?P=indent)```[ ]*$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"``(?P<two>.+?)``|`(?P<one>[^`\n]+)`")
EXPECTED_EXIT = re.compile(r"# exit code (\d)")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int  # of its first line of content, from 1
    language: str
    title: str | None
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT) if self.page.is_relative_to(ROOT) else self.page}:{self.line}"


def pages() -> list[Path]:
    """All pages below docs, in the order of their names."""
    return sorted((ROOT / "docs").rglob("*.md"))


def blocks_of(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    blocks = []
    for match in FENCE.finditer(text):
        language, _, options = match["info"].strip().partition(" ")
        title = re.search(r'title="([^"]+)"', options)
        line = text.count("\n", 0, match.start("body")) + 1
        body = textwrap.dedent(match["body"])
        blocks.append(Block(page, line, language, title[1] if title else None, body))
    return blocks


def inline_commands(page: Path) -> list[str]:
    """Commands in running text and tables, such as `decolle-hw run --sim`."""
    prose = FENCE.sub("", page.read_text(encoding="utf-8"))
    spans = (match["two"] or match["one"] for match in CODE.finditer(prose.replace("\n", " ").replace(r"\|", "|")))
    return [span.strip() for span in spans if span.strip().startswith("decolle-hw ")]


def lines_of(block: Block) -> list[tuple[int, str]]:
    """Numbered lines that are typed: prompts and continuations resolved, output of a `console` block left out."""
    found: list[tuple[int, str]] = []
    pending = ""
    for number, line in enumerate(block.text.splitlines(), block.line):
        if block.language == "console" and not pending:
            if not line.startswith("$ "):
                continue
            line = line.removeprefix("$ ")
        pending += line
        if pending.endswith("\\"):
            pending = pending[:-1]
            continue
        if pending.strip() and not pending.lstrip().startswith("#"):
            found.append((number, pending.strip()))
        pending = ""
    return found


@dataclass
class Library:
    """What readers of earlier pages have got so far: whoever types the same lines from the start, finds it done."""

    folder: Path
    data: dict[str, str]  # placeholder -> path
    done: dict[tuple[str, ...], Path] = field(default_factory=dict)

    def recall(self, steps: tuple[str, ...], into: Path) -> bool:
        if steps not in self.done:
            return False
        shutil.rmtree(into)
        shutil.copytree(self.done[steps], into, symlinks=True)
        return True

    def remember(self, steps: tuple[str, ...], folder: Path) -> None:
        kept = self.folder / str(len(self.done))
        shutil.copytree(folder, kept, symlinks=True)
        self.done[steps] = kept


class Reader:
    """Follows one page; files lie in `folder`, names of Python in one namespace."""

    def __init__(self, folder: Path, library: Library) -> None:
        self.folder = folder
        self.here = folder
        self.library = library
        self.namespace: dict[str, Any] = {"__name__": "__main__"}
        self.steps: tuple[str, ...] = ()
        self.printed: list[str] = []  # by each line or block
        folder.mkdir(parents=True, exist_ok=True)

    def follow(self, page: Path) -> None:
        for block in blocks_of(page):
            self.read(block)

    def read(self, block: Block) -> None:
        """Do what a block says; `AssertionError` with its place where that does not work."""
        if block.language not in LANGUAGES:
            raise AssertionError(f"{block.place}: unknown language {block.language!r}; known: {', '.join(LANGUAGES)}")
        if block.title is not None and block.language not in TYPED:
            self._save(block)
        if block.language == "yaml":
            _describe(block, self.here)
        elif block.language == "python":
            self._python(block)
        elif block.language not in SHOWN:
            for number, line in lines_of(block):
                self._type(f"{block.page.name}:{number}", line)

    def _save(self, block: Block) -> None:
        assert block.title is not None
        file = self.here / block.title
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block.text, encoding="utf-8")
        self.steps += (f"{block.title}\n{block.text}",)

    def _python(self, block: Block) -> None:
        # As many line feeds as stand above it, so that a traceback names the line of the page.
        code = compile("\n" * (block.line - 1) + block.text, str(block.page), "exec")
        with _folder(self.here), contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(code, self.namespace)
        self.printed.append(printed.getvalue())
        self.steps += (block.text,)

    def _type(self, place: str, line: str) -> None:
        expected = EXPECTED_EXIT.search(line)
        words = shlex.split(line, comments=True)
        for placeholder, path in self.library.data.items():
            words = [path if word == placeholder else word for word in words]
        typed = shlex.join(words)
        for rule in NOT_RUN:
            if re.match(rule.pattern, typed):
                rule.check(typed)
                return
        if words[0] == "cd":
            self.here = self.here / words[1]
            assert self.here.is_dir(), f"{place}: {line}: there is no folder {words[1]}"
        elif words[0] == "decolle-hw" or "|" in words:
            self._command(place, line, words, int(expected[1]) if expected else 0)
        elif words[0] in PLAIN:
            done = subprocess.run(["bash", "-c", line], cwd=self.here, capture_output=True, text=True)
            assert done.returncode == 0, f"{place}: {line}: {done.stderr}"
            self.steps += (line,)
        else:
            raise AssertionError(f"{place}: {line}: neither run nor listed in docs_rules with a reason")

    def _command(self, place: str, line: str, words: list[str], expected: int) -> None:
        """`decolle-hw ...`, with what `cat FILE |` before it gives, and `> FILE` behind it."""
        given, source = b"", words
        if "|" in words:
            bar = words.index("|")
            assert words[0] == "cat" and words[bar + 1] == "decolle-hw", (
                f"{place}: {line}: only `cat FILE | decolle-hw`"
            )
            given = b"".join((self.here / file).read_bytes() for file in words[1:bar])
            source = words[bar + 1 :]
        target = None
        if ">" in source:
            source, target = source[: source.index(">")], source[source.index(">") + 1]
        arguments = shrunk(source[1:])
        # What it leaves depends on everything before it that left something.
        leaves = target is not None or leaves_files(source[1:])
        if leaves:
            self.steps += (shlex.join(words),)
        slow = leaves and arguments[0] in ("train", "compile") and expected == 0
        if slow and self.here == self.folder and self.library.recall(self.steps, self.folder):
            return
        with _folder(self.here):
            result = CliRunner().invoke(cli, arguments, input=given, prog_name="decolle-hw")
        self.printed.append(result.output)
        code = getattr(result.exception, "exit_code", result.exit_code)
        told = result.output[-2000:] if result.exception is None else f"{result.output[-2000:]}\n{result.exception!r}"
        assert code == expected, f"{place}: {line}: exit code {code}, not {expected}\n{told}"
        if target is not None:
            (self.here / target).write_text(result.output, encoding="utf-8")
        if slow and self.here == self.folder:
            self.library.remember(self.steps, self.folder)


def leaves_files(arguments: list[str]) -> bool:
    """Whether a command changes the folder, as far as its name and options tell."""
    if "--dry-run" in arguments:
        return False
    if arguments[0] in ("evaluate", "run", "verify", "targets", "models", "runs", "doctor"):
        return any(word.startswith(("--save", "--json", "--csv", "--plot", "--log")) for word in arguments)
    return True


def shrunk(arguments: list[str]) -> list[str]:
    """Arguments of decolle-hw with what makes it quick."""
    command = arguments[0]
    added = [rule.options for rule in SHRUNK if rule.command == command and rule.when(arguments)]
    return [*arguments, *(word for options in added for word in options)]


@contextlib.contextmanager
def _folder(path: Path):
    before = Path.cwd()
    os.chdir(path)
    try:
        yield
    finally:
        os.chdir(before)


def _describe(block: Block, folder: Path) -> None:
    """A YAML block is a model, some sections of one, or a target."""
    from decolle_hw.errors import DecolleHwError
    from decolle_hw.spec import load_model_spec, parse_model_spec

    values = yaml.safe_load(block.text)
    assert isinstance(values, dict), f"{block.place}: is no mapping"
    whole = "name" in values and "network" in values
    base = load_model_spec("nmnist").model_dump()
    try:
        if whole:
            parse_model_spec(_without_auto(values), block.place)
            return
        unknown = values.keys() - base.keys()
        assert not unknown, f"{block.place}: no section of a model is called {', '.join(sorted(unknown))}"
        merged = {key: {**base[key], **value} if isinstance(value, dict) else value for key, value in values.items()}
        if "network" in values:
            merged["network"] = values["network"]
        parse_model_spec(_without_auto({**base, **merged}), block.place)
    except DecolleHwError as error:
        raise AssertionError(str(error)) from None


def _without_auto(values: dict[str, Any]) -> dict[str, Any]:
    """Sizes that are read off the recordings, as if they had been."""
    dataset = {key: value for key, value in values.get("dataset", {}).items() if value != "auto"}
    return {**values, "dataset": dataset}


def parses(command: str) -> str | None:
    """What is wrong with a command of the text, which is not run: its name, or its options. None: nothing.

    Alternatives `a|b` are read as the first of them.
    """
    words = [word for word in shlex.split(re.sub(r" ?\| ?[^ ]+", "", command), comments=True) if word != "..."]
    arguments = words[1:]
    if not arguments or arguments[0].startswith("-") or arguments[0] == "COMMAND":
        return None
    context = click.Context(cli, info_name="decolle-hw")
    found = cli.get_command(context, arguments[0])
    if found is None:
        return f"{command}: there is no command {arguments[0]!r}"
    try:
        found.make_context(arguments[0], arguments[1:], parent=context)
    except click.exceptions.Exit:  # --help
        return None
    except click.BadOptionUsage as error:
        # `decolle-hw compile --plastic` names the option, and leaves out what it is given.
        return None if words[-1] == error.option_name else f"{command}: {error.format_message()}"
    except click.ClickException as error:
        return f"{command}: {error.format_message()}"
    return None
