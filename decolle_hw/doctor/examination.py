"""All checks in their order, and what they come to."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from decolle_hw import __version__
from decolle_hw.doctor import installation, machine, packages, self_tests
from decolle_hw.doctor.finding import Finding, State, in_words, run_check
from decolle_hw.doctor.lava_child import IMPORT_DL, IMPORT_NC, LIMIT_SECONDS, SELF_TESTS, Outcome, lava_child

SELF_TEST = "self-tests"
LAVA_NC, LAVA_DL = "lava-nc==0.10.0", "lava-dl==0.6.0"
NEW_ENVIRONMENT = f"python3.10 -m venv .venv && .venv/bin/{installation.INSTALL}"


@dataclass(frozen=True)
class Examination:
    """Result of `examine`."""

    groups: tuple[tuple[str, tuple[Finding, ...]], ...]
    seconds: float

    def of_state(self, state: State) -> list[Finding]:
        return [finding for _, findings in self.groups for finding in findings if finding.state == state]

    def to_json(self) -> dict[str, Any]:
        return {
            "decolle_hw": __version__,
            "python": sys.version.split()[0],
            "seconds": self.seconds,
            "broken": [finding.name for finding in self.of_state("broken")],
            "limited": [finding.name for finding in self.of_state("limited")],
            "groups": {name: [finding.to_json() for finding in findings] for name, findings in self.groups},
        }


def examine(
    with_self_tests: bool = True,
    show: Callable[[str, Sequence[Finding]], None] = lambda group, findings: None,
    limit: float = LIMIT_SECONDS,
) -> Examination:
    """Look at everything.

    Args:
        with_self_tests: make each backend work for some seconds as well.
        show: called with (group, findings) as soon as a group is finished.
        limit: seconds after which a Lava that hangs is ended.
    """
    began = time.perf_counter()
    groups: list[tuple[str, tuple[Finding, ...]]] = []

    def add(name: str, *findings: Finding) -> None:
        groups.append((name, findings))
        show(name, findings)

    with ExitStack() as stack:
        # Lava takes longest: it works while the rest is looked at.
        stages = [IMPORT_NC, *(SELF_TESTS if with_self_tests else ()), IMPORT_DL]
        child = stack.enter_context(lava_child(stages, limit))
        add("machine", *run_check("Python", machine.check_python), *run_check("machine", machine.check_machine))
        add("folders", *run_check("folders", machine.check_folders))
        add(
            "installation", *run_check("installation", installation.check_installation),
            *run_check("standard library", installation.check_shadows),
        )  # fmt: skip
        add("packages", *run_check("packages", packages.check_packages), *run_check("CUDA", packages.check_cuda))
        tests = list(_self_tests_here()) if with_self_tests else []
        outcomes = child.outcomes()
        add("Lava", *_lava_packages(outcomes))
        if with_self_tests:
            add(SELF_TEST, *tests, *_lava_tests(outcomes))
    return Examination(tuple(groups), time.perf_counter() - began)


def _self_tests_here() -> Iterator[Finding]:
    yield _timed(self_tests.FLOAT, self_tests.float_rule, "python -m pip install --force-reinstall torch numba")
    yield _timed(self_tests.REFERENCE, self_tests.integer_reference, "python -m pip install --force-reinstall numba")
    if _cuda_is_there():
        remedy = "decolle-hw train --device cpu"
        yield _timed(f"{self_tests.FLOAT} on CUDA", lambda: self_tests.float_rule("cuda"), remedy)


def _cuda_is_there() -> bool:
    torch = sys.modules.get("torch")  # `check_packages` has imported it, if that can be done
    return torch is not None and torch.cuda.is_available()


def _timed(name: str, test: Callable[[], str], remedy: str) -> Finding:
    began = time.perf_counter()
    try:
        text = test()
    except ModuleNotFoundError as error:
        return Finding(name, "broken", f"not tested: {error}; see packages")
    except Exception as error:
        return Finding(name, "broken", in_words(error), remedy)
    return Finding(name, "ok", f"{text} ({time.perf_counter() - began:.1f} s)")


def _lava_packages(outcomes: dict[str, Outcome]) -> Iterator[Finding]:
    for name, stage, wanted, without in (
        ("lava-nc", IMPORT_NC, LAVA_NC, "`run --sim` and `verify` need --backend reference"),
        ("lava-dl", IMPORT_DL, LAVA_DL, "artifacts cannot be tried in its netx"),
    ):
        outcome, version = outcomes[stage], packages.version_of(name)
        if outcome.passed:
            expected = wanted.partition("==")[2]
            if version == expected:
                yield Finding(name, "ok", f"{version}, {outcome.text} ({outcome.seconds:.1f} s)")
            else:
                found = f"{version or 'unknown version'}, {outcome.text}, but decolle-hw is tested with {expected}"
                yield Finding(name, "limited", found, f"python -m pip install {wanted}")
        elif _lava_is_expected():
            found = f"{version or 'is missing'}: {outcome.text}; without it {without}"
            # lava-dl is a companion: nothing that decolle-hw itself does needs it.
            yield Finding(name, "broken" if name == "lava-nc" else "limited", found, f"python -m pip install {wanted}")
        else:
            yield Finding(name, "limited", f"needs Python 3.10; without it {without}", NEW_ENVIRONMENT)


def _lava_tests(outcomes: dict[str, Outcome]) -> Iterator[Finding]:
    for name in SELF_TESTS:
        outcome = outcomes[name]
        if outcome.passed:
            yield Finding(name, "ok", f"{outcome.text} ({outcome.seconds:.1f} s)")
        elif not _lava_is_expected():
            yield Finding(name, "limited", "needs Python 3.10", NEW_ENVIRONMENT)
        elif not outcomes[IMPORT_NC].passed:
            yield Finding(name, "broken", "not tested: lava-nc does not import")
        else:
            yield Finding(name, "broken", outcome.text, f"python -m pip install --force-reinstall {LAVA_NC}")


def _lava_is_expected() -> bool:
    """Elsewhere it is not among our dependencies, and does not import."""
    return sys.version_info[:2] == packages.LAVA_PYTHON
