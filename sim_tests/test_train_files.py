"""What a run leaves on disk: a full disk, weights without bound, events for TensorBoard, deterministic mode, lsuv."""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from train_tools import Watcher, few_recordings, require_same_tensors, resume, small_spec, train

from decolle_hw.errors import UsageError
from decolle_hw.nn.network import DecolleNetwork
from decolle_hw.training import events
from decolle_hw.training import train as training
from decolle_hw.training.determinism import WORKSPACE, deterministic
from decolle_hw.training.history import EpochRecord, best_epoch, epochs_without_gain, is_complete
from decolle_hw.training.learner import Learner, NonFiniteLoss
from decolle_hw.training.recorder import require_place_for_runs
from decolle_hw.training.runs import CHECKPOINT, LAST, METRICS, RESUME, load_run, newest_run, newest_unfinished_run

__all__ = ["few_recordings"]
pytestmark = pytest.mark.usefixtures("few_recordings")


def fill_disk(monkeypatch: pytest.MonkeyPatch, name: str, after: int) -> None:
    """From the `after`-th time on, half of the file is written, then the disk is full."""
    write = Path.write_bytes
    count = 0

    def failing(path: Path, content: bytes) -> int:
        nonlocal count
        count += f".{name}." in path.name
        if count < after:
            return write(path, content)
        write(path, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", failing)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class TestFullDisk:
    @pytest.mark.parametrize("name", [RESUME, LAST, CHECKPOINT, METRICS])
    def test_in_the_first_save_nothing_is_left(self, tmp_path: Path, monkeypatch, name: str) -> None:
        fill_disk(monkeypatch, name, after=1)
        with pytest.raises(UsageError, match=rf"{name}: cannot be written: No space left.*nothing had been saved yet$"):
            train(small_spec(), tmp_path / "runs")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("name", [RESUME, LAST, METRICS])
    def test_later_what_was_saved_is_intact(self, tmp_path: Path, monkeypatch, name: str) -> None:
        spec = small_spec()
        fill_disk(monkeypatch, name, after=3)
        words = (
            rf"{name}: cannot be written: No space left on device; .*small.* is intact up to epoch 2, with its best "
        )
        with pytest.raises(
            UsageError, match=words + r"checkpoint \(epoch \d\); to go on from there: .*--resume .*small"
        ):
            train(spec, tmp_path / "full")
        monkeypatch.undo()
        (folder,) = (tmp_path / "full" / "small").iterdir()
        assert not [path for path in folder.iterdir() if "partial" in path.name]
        assert newest_unfinished_run(tmp_path / "full", None, lambda folder: False) == folder
        if name != METRICS:
            assert load_run(folder).network().layers[0].weight.isfinite().all()

    def test_and_the_run_goes_on_once_there_is_space(self, tmp_path: Path, monkeypatch) -> None:
        spec = small_spec()
        whole = train(spec, tmp_path / "whole")
        with monkeypatch.context() as full:
            fill_disk(full, LAST, after=2)
            with pytest.raises(UsageError, match=r"intact up to epoch 1"):
                train(spec, tmp_path / "full")
        (folder,) = (tmp_path / "full" / "small").iterdir()
        resume(folder, spec)
        for name in (LAST, CHECKPOINT):
            require_same_tensors(whole.folder / name, folder / name)

    def test_the_event_file(self, tmp_path: Path, monkeypatch) -> None:
        monkeypatch.setattr(events, "open", None, raising=False)

        def full(self, data: bytes) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(events.EventFile, "_append", full)
        with pytest.raises(UsageError, match=r"events.out.*cannot be written: No space left.*intact up to epoch 1"):
            train(small_spec(), tmp_path)

    def test_no_place_for_runs_is_said_before_the_training(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(
            UsageError, match=r"cannot be written: .*file is not a folder; give another one with --runs"
        ):
            train(small_spec(), tmp_path / "file" / "runs", Watcher(lambda epoch, done: pytest.fail("it was trained")))
        (tmp_path / "small").write_text("in the way")
        with pytest.raises(UsageError, match=r"cannot be written: .*small is not a folder"):
            train(small_spec(), tmp_path)
        require_place_for_runs(tmp_path / "new" / "runs")
        assert not (tmp_path / "new").exists()


class TestDivergence:
    @pytest.fixture
    def diverges_in_epoch_3(self, monkeypatch: pytest.MonkeyPatch) -> None:
        learn_epoch = Learner.learn_epoch

        def learn(self, recordings, epoch, rng, done=0):
            for count, batch in enumerate(learn_epoch(self, recordings, epoch, rng, done)):
                if epoch == 2 and count == 1:
                    raise NonFiniteLoss(1, 17)
                yield batch

        monkeypatch.setattr(Learner, "learn_epoch", learn)

    def test_says_layer_and_step_and_keeps_the_last_good_checkpoint(self, tmp_path, diverges_in_epoch_3) -> None:
        two = train(small_spec(training={"num_epochs": 2}), tmp_path / "two")
        words = (
            r"training.learning_rate 0.02: in epoch 3, after 25 recordings the loss of layer 1 at step 17 is no longer "
            r"finite; lower it; .*small.* is intact up to epoch 2, with its best checkpoint \(epoch \d\)$"
        )
        with pytest.raises(UsageError, match=words):
            train(small_spec(), tmp_path / "runs")
        (folder,) = (tmp_path / "runs" / "small").iterdir()
        for name in (LAST, CHECKPOINT):
            require_same_tensors(two.folder / name, folder / name)
        run = load_run(folder)
        assert not run.metrics["finished"] and "layer 1 at step 17" in run.metrics["diverged"]
        with pytest.raises(UsageError, match="holds no finished training run"):
            newest_run(tmp_path / "runs")
        with pytest.raises(UsageError, match="holds no unfinished run"):  # it would only diverge again
            newest_unfinished_run(tmp_path / "runs", None, lambda folder: False)

    def test_weights_that_are_not_finite_are_never_saved(self, tmp_path: Path) -> None:
        watcher = Watcher()

        def spoil(network: DecolleNetwork, epoch: int) -> None:
            if epoch == 1:
                network.layers[1].bias[3] = torch.nan

        learner_of = training.Learner

        class Spoiled(learner_of):
            def evaluate(self, recordings, *arguments):
                spoil(self.network, len(watcher.epochs))
                return learner_of.evaluate(self, recordings, *arguments)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(training, "Learner", Spoiled)
            with pytest.raises(
                UsageError, match=r"in epoch 2.* layers.1.bias is no longer finite.*intact up to epoch 1"
            ):
                train(small_spec(), tmp_path, watcher)
        (folder,) = (tmp_path / "small").iterdir()
        for weights in ("best", "last"):
            assert all(
                bool(tensor.isfinite().all()) for tensor in load_run(folder).network(weights).state_dict().values()
            )

    def test_the_learner_itself_notices(self, tmp_path: Path, monkeypatch) -> None:
        """Through the learner's own check: a readout that is not finite makes the loss of its layer so."""
        made = training.DecolleNetwork

        def broken(*arguments):
            network = made(*arguments)
            network.layers[1].readout_bias[0] = torch.inf
            return network

        monkeypatch.setattr(training, "DecolleNetwork", broken)
        with pytest.raises(UsageError, match=r"in epoch 1, after 0 recordings the loss of layer 1 at step \d+ is no"):
            train(small_spec(), tmp_path / "runs")
        assert not (tmp_path / "runs").exists()


class TestEvents:
    def read(self, folder: Path) -> dict[str, list[tuple[int, float]]]:
        found = EventAccumulator(str(folder)).Reload()
        return {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}

    def test_tensorboard_reads_every_figure(self, tmp_path: Path) -> None:
        spec = small_spec(training={"num_epochs": 2, "learning_rate": [0.02, 0.01]})
        run = train(spec, tmp_path)
        tags = self.read(run.folder)
        of_layers = ("loss", "test_accuracy", "test_firing_rate")
        assert {tag for tag in tags if "layer" in tag} == {f"{name}/layer{i}" for name in of_layers for i in (0, 1)}
        for name in of_layers:
            for layer in (0, 1):
                expected = [(entry["epoch"], entry[name][layer]) for entry in run.metrics["history"]]
                np.testing.assert_allclose(tags[f"{name}/layer{layer}"], expected, rtol=1e-6)  # events are float32
        assert [value for _, value in tags["learning_rate/group1"]] == pytest.approx([0.01, 0.01])
        assert [step for step, _ in tags["seconds"]] == [step for step, _ in tags["recordings_per_second"]] == [1, 2]
        self.require_described(run.folder, spec.training.batch_size)

    @staticmethod
    def require_described(folder: Path, batch_size: int) -> None:
        """The tabs Text and HParams, as TensorBoard's own reader finds them."""
        found = EventAccumulator(str(folder)).Reload()
        (text,) = found.Tensors("description/text_summary")
        lines = text.tensor_proto.string_val[0].decode().splitlines()
        assert [line.removeprefix("    ") for line in lines] == (folder / "spec.yaml").read_text().splitlines()
        content = found.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
        hparams = HParamsPluginData.FromString(content).session_start_info.hparams
        assert hparams["training.batch_size"].number_value == batch_size
        assert json.loads(hparams["training.learning_rate"].string_value) == [0.02, 0.01]
        assert hparams["network.neuron"].string_value == "decolle"

    def test_a_resumed_run_goes_on_with_the_curve(self, tmp_path: Path) -> None:
        run = train(small_spec(training={"num_epochs": 2}), tmp_path)
        resume(run.folder, small_spec(training={"num_epochs": 3}))
        assert len(list(run.folder.glob("events.out.tfevents.*"))) == 2
        assert [step for step, _ in self.read(run.folder)["loss/layer0"]] == [1, 2, 3]


class TestHistory:
    @staticmethod
    def history(*accuracies: float) -> list[EpochRecord]:
        return [EpochRecord(i + 1, [0.0], [0.9, value], [0.1], [1e-3], 1.0, 1.0) for i, value in enumerate(accuracies)]

    @pytest.mark.parametrize(
        ("accuracies", "best", "without_gain"),
        [((), 0, 0), ((0.5,), 1, 0), ((0.5, 0.4), 1, 1), ((0.5, 0.5, 0.5), 3, 2), ((0.1, 0.7, 0.7, 0.2, 0.8), 5, 0)],
    )
    def test_best_and_patience(self, accuracies: tuple, best: int, without_gain: int) -> None:
        """The later of equals is kept, but equal is not better."""
        history = self.history(*accuracies)
        assert (best_epoch(history), epochs_without_gain(history)) == (best, without_gain)

    def test_complete(self) -> None:
        spec = small_spec(training={"num_epochs": 4, "early_stop": 2}).training
        assert not is_complete(self.history(0.5, 0.4), spec)
        assert is_complete(self.history(0.5, 0.4, 0.5), spec) and is_complete(self.history(0.1, 0.2, 0.3, 0.4), spec)


class TestDeterministic:
    def test_only_within_the_run(self, tmp_path: Path) -> None:
        seen = []
        watcher = Watcher(lambda epoch, done: seen.append(torch.are_deterministic_algorithms_enabled()))
        for wanted in (True, False):
            train(small_spec(training={"num_epochs": 1, "deterministic": wanted}), tmp_path, watcher)
            assert set(seen) == {wanted} and not torch.are_deterministic_algorithms_enabled()
            seen.clear()
        assert WORKSPACE not in os.environ

    def test_what_cannot_be_repeated_is_named(self) -> None:
        with (
            pytest.raises(UsageError, match=r"training.deterministic true: put_ .*does not have a deterministic"),
            deterministic(True),
        ):
            raise RuntimeError("put_ with accumulate=False does not have a deterministic implementation. Turn it off.")
        with pytest.raises(RuntimeError, match="other"), deterministic(True):
            raise RuntimeError("other")
        assert not torch.are_deterministic_algorithms_enabled()


def test_other_initial_weights(tmp_path: Path) -> None:
    """init reaches the network that is trained: with a rate of next to nothing it is what is saved."""
    means = {}
    for how in ("uniform", "decolle", "lsuv"):
        network = {"init": how, "lsuv_variance": 0.3, "wrp": 0.1}
        spec = small_spec(network=network, training={"num_epochs": 1, "learning_rate": 1e-30})
        weight = train(spec, tmp_path / how).network().layers[1].weight
        means[how] = float(weight.abs().mean())
        if how == "lsuv":  # orthogonal rows, all scaled by one factor
            products = weight @ weight.T
            np.testing.assert_allclose(products, products[0, 0] * np.eye(len(products)), atol=1e-5 * products[0, 0])
    assert means["decolle"] < 0.1 * means["uniform"]


def test_a_save_takes_milliseconds(tmp_path: Path) -> None:
    """All files of a small network; the bound leaves room for a busy machine."""
    run = train(small_spec(training={"num_epochs": 1}), tmp_path)
    state = training.require_resumable(run.folder, small_spec(training={"num_epochs": 2}))
    metrics = json.loads((run.folder / METRICS).read_text())
    with training.Recorder(tmp_path, "small", existing=run.folder) as recorder:
        times = []
        for _ in range(10):
            began = time.perf_counter()
            recorder.save(state, metrics)
            times.append(time.perf_counter() - began)
    assert min(times) < 0.1
