"""`doctor`: what is broken is said with its remedy, and never ends the examination."""

from __future__ import annotations

import configparser
import json
import os
import re
import sys
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from fixedpoint_oracle import decay, saturate

from decolle_hw import execution
from decolle_hw.compiler.layers import NEURON_KINDS
from decolle_hw.doctor import examination, installation, machine, packages, self_tests
from decolle_hw.doctor.finding import Finding, run_check
from decolle_hw.doctor.lava_child import IMPORT_DL, IMPORT_NC, Outcome, lava_child
from decolle_hw.doctor.packages import PACKAGES, Package, examine, numbers
from decolle_hw.sim.learning import learn
from decolle_hw.sim.learning_state import start_state

ROOT = Path(__file__).resolve().parent.parent
ON_3_10 = sys.version_info[:2] == (3, 10)


def by_name(findings) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


class Failing:
    """A finder that lets one package fail as given."""

    def __init__(self, module: str, error: Exception) -> None:
        self.module, self.error = module, error

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == self.module:
            raise self.error


@pytest.fixture
def failing(monkeypatch):
    """Make the import of a package that nobody else needs fail."""

    def fail(module: str, error: Exception) -> None:
        monkeypatch.delitem(sys.modules, module, raising=False)
        monkeypatch.setattr(sys, "meta_path", [Failing(module, error), *sys.meta_path])

    return fail


@pytest.fixture
def without_lava(monkeypatch):
    """Instead of the process that examines Lava, what it found."""

    def found(**outcomes: Outcome) -> None:
        @contextmanager
        def child(stages, limit):
            class Child:
                def outcomes(self):
                    return {stage: Outcome(True, "imports", 0.1) for stage in stages} | outcomes

            yield Child()

        monkeypatch.setattr(examination, "lava_child", child)

    return found


def test_packages_are_those_of_setup_cfg():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    required = {}
    for line in setup["options"]["install_requires"].split("\n"):
        if line and not line.startswith("lava"):
            name, minimum, below = re.fullmatch(r"([\w-]+)>=([\d.]+)(?:,<([\d.]+))?", line).groups()
            required[name] = (minimum, below)
    assert {package.distribution: (package.minimum, package.below) for package in PACKAGES} == required
    lava = {line.split(";")[0] for line in setup["options"]["install_requires"].split("\n") if line.startswith("lava")}
    assert lava == {examination.LAVA_NC, examination.LAVA_DL}


def test_versions_are_compared_as_numbers():
    assert (
        numbers("2.10.0") > numbers("2.9.1") and numbers("6") == numbers("6.0.0") and numbers("2.3.1+cpu") == (2, 3, 1)
    )


@pytest.mark.parametrize(
    ("error", "words", "remedy"),
    [
        (ModuleNotFoundError("No module named 'nir'", name="nir"), "is missing: needed for exchange", "nir>=1.0.8,<2"),
        (ModuleNotFoundError("No module named 'yaml'", name="yaml"), "No module named 'yaml'", "install pyyaml"),
        (ValueError("mutable default for field is\nnot allowed"), "ValueError: mutable default", "--force-reinstall"),
        (ImportError("numpy.core.multiarray failed to import"), "ImportError: numpy.core", "--force-reinstall"),
    ],
)
def test_a_package_that_does_not_import(failing, error, words, remedy):
    failing("nir", error)
    finding = examine(next(package for package in PACKAGES if package.module == "nir"))
    assert finding.state == "broken" and words in finding.found and "\n" not in finding.found
    assert remedy in finding.remedy


def test_versions_too_old_and_too_new(monkeypatch):
    package = Package("nir", "nir", "1.0.8", "2")
    for version, state in (("1.0.7", "broken"), ("1.0.8", "ok"), ("1.10", "ok"), ("2.0", "broken")):
        monkeypatch.setattr(metadata, "version", lambda name, version=version: version)
        assert examine(package).state == state, version


@pytest.mark.skipif(not ON_3_10, reason="limits of Lava, which is for Python 3.10")
def test_limits_that_lava_sets():
    assert packages._CLOSER["numpy"](Finding("numpy", "ok", "1.26.4")).state == "ok"
    assert packages._CLOSER["numpy"](Finding("numpy", "ok", "2.1.0")).state == "broken"
    assert packages._CLOSER["torch"](Finding("torch", "ok", "2.5.0")).state == "limited"


def test_another_python_is_limited_and_an_older_one_broken(monkeypatch):
    states = {}
    for version in ((3, 9, 1), (3, 10, 13), (3, 12, 0)):
        monkeypatch.setattr(sys, "version_info", version)
        states[version[:2]] = next(machine.check_python()).state
    assert states == {(3, 9): "broken", (3, 10): "ok", (3, 12): "limited"}


def test_folders_that_cannot_be_written(monkeypatch):
    monkeypatch.setenv("DECOLLE_HW_CACHE", "/proc/no/cache")  # a file system in which nobody can make files
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/proc/no/numba")
    found = by_name([*machine.check_folders(), *installation.check_installation()])
    assert found["cache"].state == "limited" and "DECOLLE_HW_CACHE" in found["cache"].remedy
    assert found["compiled kernels"].state == "broken" and "NUMBA_CACHE_DIR" in found["compiled kernels"].remedy
    assert found["working folder"].state == "ok" and found["models and targets"].state == "ok"
    monkeypatch.chdir("/proc")
    assert by_name(machine.check_folders())["working folder"].state == "broken"


def test_a_command_elsewhere_or_nowhere(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert by_name(installation.check_installation())["command"].state == "limited"
    other = tmp_path / "decolle-hw"
    other.touch(0o755)
    finding = by_name(installation.check_installation())["command"]
    assert finding.state == "limited" and "another Python" in finding.found


def test_a_backport_before_the_standard_library(monkeypatch, tmp_path):
    assert by_name(installation.check_shadows())["standard library"].state == "ok"
    (tmp_path / "argparse.py").touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    finding = by_name(installation.check_shadows())["standard library"]
    assert finding.state == "broken" and str(tmp_path / "argparse.py") in finding.found


def test_a_check_that_fails_is_a_finding():
    def check():
        yield Finding("first", "ok", "good")
        raise OSError("no such\ndevice")

    first, second = run_check("device", check)
    assert first.state == "ok" and second.state == "broken" and second.found.endswith("OSError: no such device")


def test_the_float_rule_and_a_planted_fault(monkeypatch):
    assert "within" in self_tests.float_rule()
    right = self_tests._update
    monkeypatch.setattr(self_tests, "_update", lambda layers, spikes, target: right(layers, spikes, 1.01 * target))
    with pytest.raises(self_tests.SelfTestError, match="weights are off"):
        self_tests.float_rule()


def test_the_integer_reference_and_a_planted_fault(monkeypatch):
    assert self_tests.integer_reference().endswith("all as stored")
    monkeypatch.setitem(self_tests.INTEGER_DIGEST, "cuba", "0" * 64)
    with pytest.raises(self_tests.SelfTestError, match="of cuba neurons gives 28"):
        self_tests.integer_reference()


@pytest.mark.parametrize("neuron", NEURON_KINDS)
def test_stored_numbers_are_those_of_unbounded_integers(neuron):
    """The digest says what design section 2.2 says, one value at a time; one recording, to be quick."""
    from decolle_hw.sim.reference import run_reference

    program, spikes_TI = self_tests.integer_network(neuron), self_tests.integer_spikes()[0]
    trace = run_reference(program, spikes_TI[None], record=True)
    for index, (layer, found) in enumerate(zip(program.layers, trace.layers, strict=True)):
        u, v, r, s = ([0] * layer.num_neurons for _ in range(4))
        rows = []
        for step in range(program.steps):
            before = spikes_TI[step - 1] if step else np.zeros_like(spikes_TI[0])
            sums = (layer.weight.astype(object) @ before.astype(object)).tolist()
            row = []
            for n in range(layer.num_neurons):
                r[n] = saturate(decay(r[n], layer.dr) - layer.rho * s[n])
                u[n] = decay(u[n], layer.du + 1) + 64 * sums[n]
                v[n] = saturate(decay(v[n], layer.dv) + u[n] + (int(layer.bias_mant[n]) << layer.bias_exp))
                s[n] = int(v[n] + r[n] > int(layer.vth[n]) * 64)
                if neuron == "cuba":
                    v[n] = 0 if s[n] else v[n]
                    if step < program.reset_steps[index]:
                        u[n] = v[n] = s[n] = 0
                row.append(s[n])
            rows.append(row)
        np.testing.assert_array_equal(found.spikes[0], rows)
        assert 0.02 < np.mean(rows) < 0.6, "neither silent nor always on"
        spikes_TI = np.array(rows, np.uint8)


def test_learning_in_lava_changes_weights(monkeypatch):
    """What Lava is compared with learns something; here the reference stands in for Lava."""
    changed = []

    def reference(learning, recordings, order, targets, *, seed, record):
        start = start_state(learning, [seed])
        learned, _ = learn(learning, start, recordings, order[None], targets[None], record=record)
        changed.append(sum(int(count.sum()) for count in learned.changed.values()))
        return learned, {}

    runner = ModuleType("decolle_hw.lava_backend.learning_runner")
    runner.learn_in_lava = reference
    monkeypatch.setitem(sys.modules, runner.__name__, runner)
    monkeypatch.setattr(execution, "lava_runner", lambda: None)
    assert "all equal" in self_tests.lava_learning()
    assert changed[0] > 50


def fake_lava(monkeypatch, folder: Path, code: str) -> None:
    (folder / "lava").mkdir()
    (folder / "lava" / "__init__.py").write_text(code)
    monkeypatch.syspath_prepend(str(folder))


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("raise ValueError('mutable default <class list> for field x')", "ValueError: mutable default"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "died of SIGSEGV"),
        ("import sys; print('no display', file=sys.stderr); sys.exit(7)", "ended with exit code 7: no display"),
        ("import time; time.sleep(600)", "did not finish within 1 s, and was ended"),
    ],
    ids=["raises", "dies", "leaves", "hangs"],
)
def test_a_lava_that_fails_is_reported(monkeypatch, tmp_path, code, words):
    fake_lava(monkeypatch, tmp_path, code)
    with lava_child([IMPORT_NC, IMPORT_DL], limit=1.0 if "sleep" in code else 60.0) as child:
        outcomes = child.outcomes()
    assert not any(outcome.passed for outcome in outcomes.values())
    assert words in outcomes[IMPORT_NC].text
    with pytest.raises(ProcessLookupError):
        os.killpg(child.process.pid, 0)  # nothing of it is left


def test_doctor_without_anything_broken(decolle_hw, without_lava, tmp_path):
    without_lava()
    found = decolle_hw("doctor", "--no-self-test", "--json", str(tmp_path / "d.json"))
    content = json.loads((tmp_path / "d.json").read_text())
    assert found.code == 0 and content["broken"] == []
    assert {"machine", "folders", "installation", "packages", "Lava"} == content["groups"].keys()
    assert "torch" in found.out and f"wrote {tmp_path / 'd.json'}" in found.out


def test_doctor_with_broken_parts(decolle_hw, without_lava, failing):
    """A package is missing, Lava does not import, and a backend computes something else: all are said, exit code 1."""
    without_lava(**{IMPORT_NC: Outcome(False, "ValueError: mutable default", 0.1)})
    failing("nir", ModuleNotFoundError("No module named 'nir'", name="nir"))
    found = decolle_hw("doctor", "--no-self-test", "--json", "-")
    content = json.loads(found.out)  # nothing else on standard output
    assert found.code == 1 and "nir" in content["broken"]
    assert ("lava-nc" in content["broken"]) == ON_3_10
    assert found.err.count("error:") == 1 and "begin with `python -m pip install" in found.err
    assert "Traceback" not in found.err and "broken   nir" in found.err


def test_self_tests_that_fail(monkeypatch, without_lava):
    without_lava(Lava=Outcome(False, "recording 0 differs", 1.0))
    monkeypatch.setattr(self_tests, "float_rule", lambda: (_ for _ in ()).throw(self_tests.SelfTestError("off")))
    monkeypatch.setattr(packages, "check_packages", lambda: iter(()))
    found = examination.examine()
    broken = by_name(found.of_state("broken"))
    assert broken["float rule"].found == "SelfTestError: off"
    assert by_name(dict(found.groups)["self-tests"])["integer reference"].state == "ok"
    assert by_name(dict(found.groups)["self-tests"])["Lava"].state == ("broken" if ON_3_10 else "limited")
