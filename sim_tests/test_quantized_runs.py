"""Runs with `training.quantize`: what is saved, goes on and is tested is the quantized network; what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_quantized_training import BITS, DENSE, network_of, on_grid, spec_of
from test_train_resume import interrupt_at, interrupted, longer, same_run
from train_tools import CPU, RECORDINGS, few_recordings, resume, small_spec, train

from decolle_hw import data
from decolle_hw.errors import SpecError
from decolle_hw.spec import ModelSpec
from decolle_hw.training import train as training
from decolle_hw.training.evaluation import evaluate_run
from decolle_hw.training.learner import Learner
from decolle_hw.training.runs import CHECKPOINT, LAST, load_run
from decolle_hw.weightgrid import best_step, to_grid

__all__ = ["few_recordings"]


class TestRun:
    pytestmark = pytest.mark.usefixtures("few_recordings")

    def spec(self, **changes: Any) -> ModelSpec:
        values = {"training": {"quantize": {"weight_bits": BITS}, **changes.pop("training", {})}, **changes}
        return small_spec(**values)

    @pytest.mark.parametrize(
        "changes",
        [
            {},
            {"network": {"Nhid": [3], "kernel_size": 3, "pool_size": 2, "Mhid": [8], "init": "lsuv"}},
            {"network": {"neuron": "cuba", "vth": 0.1}, "training": {"update_every": 1}},
            {"training": {"method": "bptt", "update_every": "sequence"}},
        ],
        ids=["dense", "conv", "cuba", "bptt"],
    )
    def test_a_resumed_run_is_the_unbroken_one(self, tmp_path: Path, changes: dict[str, Any]) -> None:
        spec = longer(self.spec(**changes), 3)
        whole = train(spec, tmp_path / "whole")
        folder = interrupted(spec, tmp_path / "half", interrupt_at(1, 25))
        resume(folder, spec)
        same_run(whole.folder, folder)
        other = train(longer(small_spec(**changes), 3), tmp_path / "float")
        assert not torch.equal(*(load_file(run.folder / LAST)["layers.0.weight"] for run in (whole, other)))

    def test_a_run_gives_the_quantized_network_back(self, tmp_path: Path) -> None:
        run = load_run(train(self.spec(), tmp_path).folder)
        network, saved = run.network(), load_file(run.folder / CHECKPOINT)
        for index, layer in enumerate(network):
            master = saved[f"layers.{index}.weight"]
            assert torch.equal(layer.master_weight, master)
            assert layer.weight_step == best_step(master.numpy(), BITS)
            assert torch.equal(layer.weight, on_grid(master, layer.weight_step))
            # The integers can be read from either.
            q = to_grid(master.numpy(), layer.weight_step, BITS)
            np.testing.assert_array_equal(to_grid(layer.weight.numpy(), layer.weight_step, BITS), q)
            assert len(np.unique(q)) > 8 and not torch.equal(layer.weight, master)

    def test_evaluate_repeats_the_accuracy_of_the_run(self, tmp_path: Path) -> None:
        run = train(self.spec(), tmp_path)
        test_set = data.load_split(run.spec.dataset, "test", classes=run.classes)
        result = evaluate_run(run, test_set, "best", CPU)
        assert len(result.labels) == RECORDINGS
        assert result.accuracy == run.best["test_accuracy"] and result.firing_rate == run.best["test_firing_rate"]
        # It can fail: the floats behind them spike otherwise.
        network = run.network()
        for layer in network:
            layer.weight.copy_(layer.master_weight)
            layer.weight_bits = None
        assert Learner(network, run.spec.training, CPU).evaluate(test_set).firing_rate != result.firing_rate


class TestRefused:
    @pytest.mark.parametrize(
        ("quantize", "words"),
        [
            ({"weight_bits": 1}, r"training.quantize.weight_bits: 1 is not valid.*greater than or equal to 2"),
            ({"weight_bits": 9}, r"training.quantize.weight_bits: 9 is not valid.*less than or equal to 8"),
            ({"weight_bits": 4.5}, r"training.quantize.weight_bits: 4.5 is not valid"),
            ({"weight_bits": "4"}, r"training.quantize.weight_bits: '4' is not valid"),
            ({}, r"training.quantize.weight_bits: is missing"),
            ({"weight_bits": 4, "step": 1}, r"unknown key 'training.quantize.step'"),
            (4, r"training.quantize: 4 is not valid"),
        ],
    )
    def test_values(self, quantize: Any, words: str) -> None:
        with pytest.raises(SpecError, match=words):
            spec_of(quantize, DENSE)

    def test_a_precision_that_leaves_the_grid(self) -> None:
        with pytest.raises(SpecError, match=r"precision bfloat16: would round quantized weights once more"):
            spec_of({"weight_bits": 4}, DENSE, precision="bfloat16")

    @pytest.mark.parametrize(
        ("network", "words"),
        [
            ({"random_tau": {}}, "training.quantize: network.random_tau draws decays per input"),
            ({"alpha": [0.9, 0.9999]}, "network.alpha 0.9999 of layer 1 is too close to 1 .* largest is 0.99976"),
            ({"alpharp": 0.9999}, "network.alpharp 0.9999 of layer 0 is too close to 1"),
        ],
    )
    def test_networks_without_a_twin(
        self, network: dict[str, Any], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Before any recording is read."""
        monkeypatch.setattr(data, "load_split", lambda *arguments: pytest.fail("data were read"))
        spec = spec_of({"weight_bits": 4}, {**DENSE, **network})
        for use in (lambda: network_of(spec), lambda: training.train(spec, tmp_path / "runs", CPU, None)):
            with pytest.raises(SpecError, match=words):
                use()
        assert not (tmp_path / "runs").exists()
        network_of(spec_of(None, {**DENSE, **network}))

    def test_a_refractory_trace_without_weight_has_any_decay(self) -> None:
        network_of(spec_of({"weight_bits": 4}, {**DENSE, "alpharp": 0.9999, "wrp": 0.0}))
