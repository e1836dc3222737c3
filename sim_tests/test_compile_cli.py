"""`compile` as a user types it: weight bits, what is printed and written, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from compile_tools import train

from decolle_hw.compiler.artifact import load_artifact


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dense")
    train(folder, "Mhid: [24, 16]")
    return folder


def test_weight_bits(dense, decolle_hw, monkeypatch, tmp_path):
    monkeypatch.chdir(dense)
    output = tmp_path / "few.net"
    outcome = decolle_hw("compile", "--weight-bits", "3", "-o", str(output))
    assert outcome.code == 0, outcome.err
    program = load_artifact(output)
    assert {layer.weight_bits for layer in program.layers} == {3}
    report = json.loads((tmp_path / "few.report.json").read_text())
    assert report["warnings"] == [] and "warning:" not in outcome.out
    for entry in report["quantization"]:
        assert entry["spike_agreement"] >= entry["spike_agreement_analytic"]
        assert {register["register"] for register in entry["ranges"]} == {"u", "v", "r"}
    assert "proven" in outcome.out and "256 calibration recordings" in outcome.out


@pytest.mark.parametrize("bits", ["1", "9", "four"])
def test_weight_bits_out_of_range(dense, decolle_hw, monkeypatch, tmp_path, bits):
    monkeypatch.chdir(dense)
    outcome = decolle_hw("compile", "--weight-bits", bits, "-o", str(tmp_path / "x.net"))
    assert outcome.code == 2 and "--weight-bits" in outcome.err
    assert not list(tmp_path.iterdir())


def write_recording(path: Path, x: int, y: int) -> None:
    """N-MNIST's format: x, y, polarity and 23 bits of microseconds, big-endian."""
    path.parent.mkdir(parents=True, exist_ok=True)
    times = np.arange(0, 300_000, 1000)
    event = np.zeros((len(times), 5), np.uint8)
    event[:, 0], event[:, 1] = x, y
    event[:, 2], event[:, 3], event[:, 4] = times >> 16, times >> 8 & 255, times & 255
    path.write_bytes(event.tobytes())


@pytest.mark.parametrize(
    ("classes", "place", "words"),
    [
        (("0", "1"), 5, ("classes are not those", "missing")),
        (tuple(str(digit) for digit in range(10)), 40, ("40", "12")),
    ],
)
def test_calibration_data_that_do_not_fit(dense, decolle_hw, monkeypatch, tmp_path, classes, place, words):
    """Other classes, or events beyond the sensor: one line, and nothing is written."""
    for name in classes:
        for number in range(3):
            write_recording(tmp_path / "data" / name / f"{number}.bin", place, place)
    monkeypatch.chdir(dense)
    output = tmp_path / "out"
    output.mkdir()
    outcome = decolle_hw("compile", "--data", str(tmp_path / "data"), "-o", str(output / "x.net"))
    assert outcome.code == 2 and outcome.err.count("\n") == 1, outcome.err
    for word in words:
        assert word in outcome.err, outcome.err
    assert not list(output.iterdir())


def test_a_silent_layer_is_said_aloud(decolle_hw, monkeypatch, tmp_path):
    train(tmp_path, "neuron: cuba, Mhid: [24, 16], vth: [0.1, 500.0]")
    monkeypatch.chdir(tmp_path)
    outcome = decolle_hw("compile")
    assert outcome.code == 0, outcome.err
    assert "warning: layer 1: never spikes" in outcome.out
    (warning,) = json.loads(Path("tiny.report.json").read_text())["warnings"]
    assert "lower vth" in warning


def test_a_convolutional_network_trained_with_quantized_weights(decolle_hw, monkeypatch, tmp_path):
    """Trained, compiled with the bits it was trained with, and run: what the three commands say of it agrees."""
    train(tmp_path, "Nhid: [3], Mhid: [16], kernel_size: 3, pool_size: 2", ", quantize: {weight_bits: 4}")
    monkeypatch.chdir(tmp_path)
    outcome = decolle_hw("compile")
    assert outcome.code == 0, outcome.err
    assert "1 pool" in outcome.out
    report = json.loads(Path("tiny.report.json").read_text())
    assert [entry.get("weight_error_rms", 0.0) < 1e-6 for entry in report["quantization"]] == [True] * 3
    assert {layer.weight_bits for layer in load_artifact(Path("tiny.net")).layers if not layer.is_pooling} == {4}
    outcome = decolle_hw("run", "--sim", "--backend", "reference", "--json", "run.json")
    assert outcome.code == 0, outcome.err
    accuracy = json.loads(Path("run.json").read_text())["accuracy"]
    assert accuracy == pytest.approx(report["fidelity"]["integer_accuracy"])
