"""A resumed run is the unbroken run, to the bit; a run that cannot be resumed says why."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from train_tools import RECORDINGS, Watcher, few_recordings, figures, require_same_tensors, resume, small_spec, train

from decolle_hw.errors import UsageError
from decolle_hw.training import train as training
from decolle_hw.training.interruption import TrainingInterrupted
from decolle_hw.training.learner import Learner
from decolle_hw.training.lock import FolderLock, is_locked
from decolle_hw.training.runs import CHECKPOINT, LAST, METRICS, RESUME, SPEC, Run, load_run, newest_unfinished_run

__all__ = ["few_recordings"]
pytestmark = pytest.mark.usefixtures("few_recordings")

SGD = {"optimizer": "SGD", "betas": None, "optimizer_args": {"momentum": 0.9}, "learning_rate": 0.5}


def longer(spec, epochs: int, **changes):
    return spec.model_copy(update={"training": spec.training.model_copy(update={"num_epochs": epochs} | changes)})


def same_run(one: Path, other: Path) -> None:
    for name in (LAST, CHECKPOINT):
        require_same_tensors(one / name, other / name)
    left, right = load_file(one / RESUME), load_file(other / RESUME)
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)
    assert figures(load_run(one)) == figures(load_run(other))
    assert load_run(one).metrics["best_epoch"] == load_run(other).metrics["best_epoch"]


def interrupt_at(epoch: int, done: int, number: int = signal.SIGINT) -> Watcher:
    """A watcher that sends this process a real signal after a batch."""

    def act(now_epoch: int, now_done: int) -> None:
        if (now_epoch, now_done) == (epoch, done):
            os.kill(os.getpid(), number)

    return Watcher(act)


def interrupted(spec, runs: Path, watcher: Watcher) -> Path:
    with pytest.raises(TrainingInterrupted):
        train(spec, runs, watcher)
    (folder,) = (runs / spec.name).iterdir()
    return folder


@pytest.fixture(scope="module")
def whole(few_recordings, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """`small_spec()` trained without a break: nobody may write into its folder."""
    return train(small_spec(), tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize(
    "training",
    [{}, {"optimizer": "Adam", "betas": [0.9, 0.99]}, SGD, {"schedule": "StepLR", "schedule_args": {"step_size": 1}}],
    ids=["Adamax", "Adam", "SGD-momentum", "StepLR"],
)
def test_four_epochs_are_two_and_two(tmp_path: Path, training: dict) -> None:
    spec = small_spec(training=training | {"seed": 1})
    whole = train(spec, tmp_path / "whole")
    half = train(longer(spec, 2), tmp_path / "half")
    with pytest.raises(AssertionError):
        require_same_tensors(whole.folder / LAST, half.folder / LAST)
    resume(half.folder, spec)
    same_run(whole.folder, half.folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"training": {"update_every": "sequence", "error_rate": 0.3}},
        {"training": {"feedback": "random", "reg_l": 0.1}},
        {"network": {"random_tau": {"spread": 0.3}}},
        {"network": {"Nhid": [3], "kernel_size": 3, "pool_size": 2, "Mhid": [8]}},
        {"network": {"init": "decolle"}},
        {"network": {"neuron": "cuba", "vth": 0.1}},
        {
            "network": {"output_layer": True},
            "training": {"loss": ["none", "mse", "cross_entropy"], "clip_grad_norm": 0.1},
        },
        {"training": {"method": "bptt", "update_every": "sequence"}},
        {"dataset": {"crop": "random", "chunk_size_train": 12}},
    ],
    ids=["error-rate", "feedback", "random-tau", "conv", "init", "cuba", "output-layer", "bptt", "random-windows"],
)
def test_every_kind_of_network_goes_on(tmp_path: Path, changes: dict) -> None:
    spec = small_spec(**changes)
    whole = train(longer(spec, 2), tmp_path / "whole")
    folder = interrupted(longer(spec, 2), tmp_path / "half", interrupt_at(1, 25))
    resume(folder, longer(spec, 2))
    same_run(whole.folder, folder)


@pytest.mark.parametrize(
    ("epoch", "done", "number"),
    [
        (0, 25, signal.SIGINT), (1, 50, signal.SIGINT), (1, 50, signal.SIGTERM),
        (2, RECORDINGS, signal.SIGINT), (3, RECORDINGS, signal.SIGINT),
    ],
)  # fmt: skip
def test_interrupted_within_an_epoch(tmp_path: Path, whole: Run, epoch: int, done: int, number: int) -> None:
    spec = small_spec()
    before = signal.getsignal(number)
    folder = interrupted(spec, tmp_path / "broken", interrupt_at(epoch, done, number))
    assert signal.getsignal(number) == before
    metrics = json.loads((folder / METRICS).read_text())
    assert metrics["finished"] is False and len(metrics["history"]) == epoch
    watcher = Watcher()
    resume(folder, spec, watcher)
    assert [record.epoch for record in watcher.epochs] == list(range(epoch + 1, 5)) and watcher.notes == []
    same_run(whole.folder, folder)
    assert (whole.folder / SPEC).read_bytes() == (folder / SPEC).read_bytes()
    assert (whole.folder / CHECKPOINT).read_bytes() == (folder / CHECKPOINT).read_bytes()


def test_interrupted_again_and_again(tmp_path: Path, whole: Run) -> None:
    spec = small_spec()
    folder = interrupted(spec, tmp_path / "broken", interrupt_at(0, 25))
    for epoch, done in ((0, 50), (1, 25), (1, RECORDINGS), (3, 50)):
        with pytest.raises(TrainingInterrupted) as stop:
            resume(folder, spec, interrupt_at(epoch, done))
        assert f"epoch {epoch + 1} of 4, after {done} of {RECORDINGS} recordings" in str(stop.value)
        assert stop.value.exit_code == 130 and str(stop.value).endswith(f"decolle-hw train --resume {folder}")
    resume(folder, spec)
    same_run(whole.folder, folder)


def test_interrupted_in_the_test_after_an_epoch(tmp_path: Path, whole: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test changes nothing: it stops at once, and is made again."""
    spec = small_spec()
    evaluate, calls = Learner.evaluate, []

    def struck(self, recordings, *arguments):
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)
            pytest.fail("the test went on")
        return evaluate(self, recordings, *arguments)

    monkeypatch.setattr(Learner, "evaluate", struck)
    folder = interrupted(spec, tmp_path / "broken", Watcher())
    assert len(json.loads((folder / METRICS).read_text())["history"]) == 2
    resume(folder, spec)
    same_run(whole.folder, folder)


def test_killed_at_any_moment_while_saving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever file is the last that was replaced, what follows is the unbroken run."""
    from decolle_hw import atomic

    class Killed(BaseException):
        pass

    spec = small_spec(training={"num_epochs": 2})
    whole = train(spec, tmp_path / "whole")
    replace = os.replace
    kills = 0
    for last in range(1, 100):
        moves = iter([replace] * last)

        def dying(source: str, target: str, moves=moves) -> None:
            move = next(moves, None)
            if move is None:
                raise Killed
            move(source, target)

        monkeypatch.setattr(atomic.os, "replace", dying)
        root = tmp_path / f"killed{last}"
        try:
            train(spec, root)
        except Killed:
            kills += 1
        else:
            break
        finally:
            monkeypatch.setattr(atomic.os, "replace", replace)
        folders = list(root.glob("small/*"))
        if not folders:  # killed in its first save: nothing is left
            assert not root.exists()
            continue
        assert not [path for path in folders[0].iterdir() if "partial" in path.name]
        resume(folders[0], spec)
        same_run(whole.folder, folders[0])
    assert 6 < kills < 99  # four or five files in each of two epochs


def test_a_long_epoch_is_saved_now_and_then(tmp_path: Path, whole: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed within an epoch, a run goes on from the last of these saves, not from the epoch's beginning."""

    class Killed(BaseException):
        pass

    def act(epoch: int, done: int) -> None:
        if (epoch, done) == (1, RECORDINGS):
            raise Killed

    spec = small_spec()
    monkeypatch.setattr(training, "SAVE_SECONDS", 0)
    with pytest.raises(Killed):
        train(spec, tmp_path / "killed", Watcher(act))
    (folder,) = (tmp_path / "killed" / "small").iterdir()
    seen: list[tuple[int, int]] = []
    resume(folder, spec, Watcher(lambda epoch, done: seen.append((epoch, done))))
    assert seen[0] == (1, RECORDINGS)
    same_run(whole.folder, folder)


class TestFinished:
    def test_needs_more_epochs(self, tmp_path: Path) -> None:
        spec = small_spec(training={"num_epochs": 1})
        run = train(spec, tmp_path)
        with pytest.raises(UsageError, match=r"is finished, with 1 epochs.*--epochs 2"):
            resume(run.folder, spec)
        run = resume(run.folder, longer(spec, 2))
        assert run.spec.training.num_epochs == 2 and len(run.metrics["history"]) == 2
        with pytest.raises(UsageError, match=r"has begun epoch 2, which is beyond training.num_epochs 1.*--epochs 2"):
            resume(run.folder, spec)

    def test_early_stop(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Two epochs without a better one end the run; the latest of the best is kept."""
        accuracies = iter([0.2, 0.5, 0.5, 0.3, 0.6, 0.6, 0.1])
        evaluate = Learner.evaluate

        def told(self, recordings, *arguments):
            result = evaluate(self, recordings, *arguments)
            result.accuracy[-1] = next(accuracies)
            return result

        monkeypatch.setattr(Learner, "evaluate", told)
        spec = small_spec(training={"num_epochs": 9, "early_stop": 2})
        run = train(spec, tmp_path)
        assert len(run.metrics["history"]) == 4 and run.metrics["best_epoch"] == 3
        assert run.metrics["finished"] and run.metrics["stopped_early"] and run.metrics["test_accuracy"][-1] == 0.5
        with pytest.raises(UsageError, match=r"stopped early, after 2 epochs without a better.*early_stop=null"):
            resume(run.folder, spec)
        run = resume(run.folder, longer(spec, 7, early_stop=None))
        assert run.metrics["best_epoch"] == 6 and not run.metrics["stopped_early"] and run.metrics["finished"]

    def test_the_best_checkpoint_survives(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        accuracies = iter([0.2, 0.9, 0.5, 0.5])
        evaluate = Learner.evaluate

        def told(self, recordings, *arguments):
            result = evaluate(self, recordings, *arguments)
            result.accuracy[-1] = next(accuracies)
            return result

        monkeypatch.setattr(Learner, "evaluate", told)
        spec = small_spec(training={"num_epochs": 2})
        run = train(spec, tmp_path)
        best = (run.folder / CHECKPOINT).read_bytes()
        run = resume(run.folder, longer(spec, 4))
        assert run.metrics["best_epoch"] == 2 and (run.folder / CHECKPOINT).read_bytes() == best
        assert run.best["test_accuracy"][-1] == 0.9
        (run.folder / CHECKPOINT).unlink()
        with pytest.raises(UsageError, match=r"is not the checkpoint of epoch 2, the best one of this run"):
            resume(run.folder, longer(spec, 5))


class TestRefused:
    @pytest.fixture(scope="class")
    def broken_off(self, few_recordings, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return interrupted(small_spec(), tmp_path_factory.mktemp("broken_off"), interrupt_at(1, 25))

    @pytest.fixture
    def folder(self, broken_off: Path, tmp_path: Path) -> Path:
        """A copy of it, to be spoiled."""
        return Path(shutil.copytree(broken_off, tmp_path / "small" / broken_off.name))

    @pytest.mark.parametrize("damage", [b"", b"junk", slice(0, 100), slice(0, -1), slice(0, -4096)])
    def test_a_damaged_state(self, folder: Path, damage: bytes | slice) -> None:
        content = (folder / RESUME).read_bytes()
        (folder / RESUME).write_bytes(damage if isinstance(damage, bytes) else content[damage])
        with pytest.raises(UsageError, match=r"resume.safetensors: is not a checkpoint, or is damaged.*train again"):
            resume(folder, small_spec())

    @pytest.mark.parametrize("place", [-1, -500, -5000, 0.5])
    def test_a_garbled_state(self, folder: Path, place: float) -> None:
        """One byte is another one, in the tensors or in the rest."""
        content = bytearray((folder / RESUME).read_bytes())
        index = content.index(b"recordings") + 15 if place == 0.5 else int(place)
        content[index] ^= 1
        (folder / RESUME).write_bytes(content)
        with pytest.raises(UsageError, match=r"resume.safetensors: .*(damaged|is not the state)"):
            resume(folder, small_spec())

    def test_a_missing_state(self, folder: Path) -> None:
        (folder / RESUME).unlink()
        with pytest.raises(UsageError, match=r"cannot be resumed: resume.safetensors is missing.*older version"):
            resume(folder, small_spec())

    def test_a_checkpoint_in_its_place(self, folder: Path) -> None:
        (folder / RESUME).write_bytes((folder / LAST).read_bytes())
        with pytest.raises(UsageError, match=r"resume.safetensors: is not the state of a training run"):
            resume(folder, small_spec())

    def test_a_description_changed_since(self, folder: Path) -> None:
        text = (folder / SPEC).read_text()
        (folder / SPEC).write_text(text.replace("alpha: 0.8", "alpha: 0.9"))
        with pytest.raises(UsageError, match=r"network.alpha is 0.9, but the run began with 0.8.*changed since"):
            resume(folder, small_spec())

    @pytest.mark.parametrize(
        ("spec", "words"),
        [
            (small_spec(training={"learning_rate": 0.1}), "training.learning_rate 0.1: the run began with 0.02"),
            (small_spec(training={"seed": 7}), "training.seed 7: the run began with 0"),
            (small_spec(network={"Mhid": [16, 13]}), r"network.Mhid \[16, 13\]: the run began with \[16, 12\]"),
            (small_spec(training={"optimizer_args": {"eps": 1e-6}}), "training.optimizer_args.eps 1e-06: .* None"),
            (small_spec().model_copy(update={"name": "large"}), "is a run of 'small', not of 'large'"),
            (longer(small_spec(), 1), "has begun epoch 2, which is beyond training.num_epochs 1"),
        ],
    )
    def test_another_description(self, folder: Path, spec, words: str) -> None:
        before = {path: path.read_bytes() for path in folder.iterdir()}
        with pytest.raises(UsageError, match=words):
            resume(folder, spec)
        assert {path: path.read_bytes() for path in folder.iterdir()} == before

    def test_other_recordings(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from decolle_hw import data

        load = data.load_split
        monkeypatch.setattr(data, "load_split", lambda *arguments: load(*arguments).take(range(RECORDINGS - 1, -1, -1)))
        with pytest.raises(UsageError, match=r"the train recordings of 'small' are not those that the run began with"):
            resume(folder, small_spec())

    def test_a_run_in_use(self, folder: Path) -> None:
        assert newest_unfinished_run(folder.parent.parent, None, is_locked) == folder
        lock = FolderLock(folder)
        with pytest.raises(UsageError, match=r"is being trained by another process"):
            resume(folder, small_spec())
        with pytest.raises(UsageError, match=r"its only unfinished run of 'small' is being trained"):
            newest_unfinished_run(folder.parent.parent, "small", is_locked)
        lock.release()
        resume(folder, small_spec())
        with pytest.raises(UsageError, match=r"holds no unfinished run"):
            newest_unfinished_run(folder.parent.parent, None, is_locked)

    def test_what_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"nowhere: is not a folder"):
            resume(tmp_path / "nowhere", small_spec())


def test_another_number_of_threads_is_told(tmp_path: Path) -> None:
    """Sums are then split differently: the run goes on, but nobody may believe that it is exact."""
    spec = longer(small_spec(), 2)
    folder = interrupted(spec, tmp_path, interrupt_at(1, 50))
    before, watcher = torch.get_num_threads(), Watcher()
    torch.set_num_threads(before + 1)
    try:
        resume(folder, spec, watcher)
    finally:
        torch.set_num_threads(before)
    assert watcher.notes == [
        f"note: threads {before + 1} (before: {before}): the run goes on, but not exact to the bit"
    ]


def test_the_state_of_the_learner_matters(tmp_path: Path, whole: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparisons above can fail: without the optimizer's memory the weights are others."""
    spec = small_spec()
    folder = interrupted(spec, tmp_path / "broken", interrupt_at(1, 25))
    monkeypatch.setattr(Learner, "load_state_dict", lambda self, state: None)
    resume(folder, spec)
    with pytest.raises(AssertionError):
        require_same_tensors(whole.folder / LAST, folder / LAST)
