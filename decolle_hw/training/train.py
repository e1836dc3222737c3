"""One training run from description to run folder, and on from where it was interrupted."""

# T steps, L layers

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from decolle_hw import data
from decolle_hw.data import BinnedRecordings
from decolle_hw.errors import UsageError
from decolle_hw.nn.initialise import initialise, lsuv
from decolle_hw.nn.network import DecolleNetwork, require_quantizable
from decolle_hw.spec import ModelSpec, model_spec_to_yaml
from decolle_hw.training.determinism import deterministic
from decolle_hw.training.history import EpochRecord, best_epoch, is_complete, stops_early
from decolle_hw.training.interruption import Interruption, TrainingAborted, TrainingInterrupted
from decolle_hw.training.learner import Learner, NonFiniteLoss
from decolle_hw.training.optimizers import check_training
from decolle_hw.training.recorder import Recorder, require_place_for_runs
from decolle_hw.training.resume import changes_of_environment, require_resumable, restore_weights
from decolle_hw.training.runs import Run, load_run, resume_command
from decolle_hw.training.state import TrainingState, environment, fingerprint

SAVE_SECONDS = 300  # of a long epoch at most so much is lost when the process is killed


class Watcher(Protocol):
    """Whoever shows the progress of a run."""

    def reading(self, done: int, total: int) -> None: ...

    def batch(self, epoch: int, done: int, total: int) -> None: ...

    def epoch(self, record: EpochRecord) -> None: ...

    def note(self, text: str) -> None: ...


def choose_device(name: str) -> torch.device:
    """`cpu`, `cuda`, or `auto`: cuda where there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: torch finds no CUDA device on this machine; use --device cpu")
    return torch.device(name)


def train(spec: ModelSpec, runs: Path, device: torch.device, watcher: Watcher) -> Run:
    """Train a model and write its run folder.

    Everything random (initial weights, readouts, order of recordings) follows from `training.seed`; on one device
    and machine a run repeats itself. Raises `UsageError` where weights grow without bound or a file cannot be written,
    `TrainingInterrupted` once a signal has ended the run and it was saved.
    """
    check_training(spec.training, spec.network.layers, device)
    if spec.training.quantize is not None:
        require_quantizable(spec)
    require_place_for_runs(runs / spec.name)
    with Recorder(runs, spec.name) as recorder, deterministic(spec.training.deterministic):
        return _Training(spec, device, recorder, watcher, None).run()


def resume(folder: Path, spec: ModelSpec, device: torch.device, watcher: Watcher) -> Run:
    """Go on with a run as if it had never stopped: on the same machine the weights are the same to the bit.

    Args:
        spec: the run's own description; only training.num_epochs and training.early_stop may differ.

    Raises `UsageError` where the folder is not a run, is in use, is damaged, belongs to another description, or has
    nothing left to learn; and whatever `train` raises.
    """
    with Recorder(folder.parent, spec.name, existing=folder) as recorder:
        state = require_resumable(folder, spec)
        check_training(spec.training, spec.network.layers, device)
        recorder.resumed(state)
        with deterministic(spec.training.deterministic):
            return _Training(spec, device, recorder, watcher, state).run()


class _Training:
    """A run between its first and its last step."""

    def __init__(
        self, spec: ModelSpec, device: torch.device, recorder: Recorder, watcher: Watcher, state: TrainingState | None
    ) -> None:
        self.spec, self.device, self.recorder, self.watcher = spec, device, recorder, watcher
        self.description = model_spec_to_yaml(spec)
        known = None if state is None else state.classes
        self.train_set = data.load_split(spec.dataset, "train", watcher.reading, known)
        self.test_set = data.load_split(spec.dataset, "test", watcher.reading, known)
        self.data = {"train": fingerprint(self.train_set), "test": fingerprint(self.test_set)}
        generator = torch.Generator().manual_seed(spec.training.seed)
        self.network = DecolleNetwork(spec, len(self.train_set.classes), generator)
        if state is None:
            _initialise(self.network, spec, self.train_set, generator)
        else:
            restore_weights(state, self.network, self.data)
        self.learner = Learner(self.network, spec.training, device)
        self.rng = np.random.default_rng(spec.training.seed)
        self.history: list[EpochRecord] = []
        self.recordings = 0  # learned of the epoch that is under way
        self.losses: list[torch.Tensor] = []  # (L,) of each batch of it
        self.epoch_seconds = 0.0
        self.began = time.perf_counter()
        if state is not None:
            self._go_on_from(state)
        self.rng_before = self.rng.bit_generator.state  # when the epoch began

    def _go_on_from(self, state: TrainingState) -> None:
        self.learner.load_state_dict(state.learner)
        self.rng.bit_generator.state = state.rng
        for note in changes_of_environment(state, self.device):
            self.watcher.note(note)
        self.history = list(state.history)
        self.recordings = state.recordings
        self.losses = [*state.losses_bL.to(self.device)]
        self.epoch_seconds = state.epoch_seconds
        self.began -= state.seconds

    def run(self) -> Run:
        """Learn until there is no epoch left."""
        with Interruption() as interruption:
            if is_complete(self.history, self.spec.training):
                self._save()  # it was ended between its last step and the word that it is finished
            while not is_complete(self.history, self.spec.training):
                self._stop_if_asked(interruption)
                loss_L = self._learn_epoch(interruption)
                self._test_epoch(loss_L, interruption)
            self._stop_if_asked(interruption)
        assert self.recorder.folder is not None
        return load_run(self.recorder.folder)

    def _learn_epoch(self, interruption: Interruption) -> list[float]:
        """The rest of an epoch; its mean loss per layer."""
        epoch = len(self.history)
        self.rng_before = self.rng.bit_generator.state
        began = saved = time.perf_counter()
        before = self.epoch_seconds
        batches = self.learner.learn_epoch(self.train_set, epoch, self.rng, self.recordings)
        try:
            for done, losses_TL in batches:
                self.losses.append(losses_TL.mean(0))
                self.recordings = done
                now = time.perf_counter()
                self.epoch_seconds = before + now - began
                self.watcher.batch(epoch, done, len(self.train_set))
                if interruption.number is not None:
                    self._save()
                    self._stop_if_asked(interruption)
                elif now - saved > SAVE_SECONDS:
                    self._save()
                    saved = now
        except NonFiniteLoss as error:
            raise self._diverged(f"the loss of layer {error.layer} at step {error.step}") from None
        loss_L: list[float] = torch.stack(self.losses).mean(0).tolist()
        self.epoch_seconds = before + time.perf_counter() - began  # with what a GPU still had to do
        return loss_L

    def _test_epoch(self, loss_L: list[float], interruption: Interruption) -> None:
        """Test, and close the epoch."""
        try:
            with interruption.may_stop_anywhere():
                result = self.learner.evaluate(self.test_set)
        except TrainingAborted:
            raise
        except KeyboardInterrupt:
            self._save()
            self._stop_if_asked(interruption)
            raise
        record = EpochRecord(
            epoch=len(self.history) + 1,
            loss=loss_L,
            test_accuracy=result.accuracy,
            test_firing_rate=result.firing_rate,
            learning_rate=[float(group["lr"]) for group in self.learner.optimizer.param_groups],
            recordings_per_second=len(self.train_set) / self.epoch_seconds,
            seconds=self.epoch_seconds,
        )
        self._require_finite(record.loss)
        self.history.append(record)
        self.recordings, self.losses, self.epoch_seconds = 0, [], 0.0
        self.rng_before = self.rng.bit_generator.state
        self._save()
        self.recorder.log(record)
        self.watcher.epoch(record)

    def _stop_if_asked(self, interruption: Interruption) -> None:
        """Raise `TrainingInterrupted` if a signal came; all that was learned has been saved."""
        number, folder = interruption.number, self.recorder.folder
        if number is None:
            return
        if folder is None:
            raise TrainingInterrupted("interrupted before the first step; nothing was saved", number)
        if is_complete(self.history, self.spec.training):
            raise TrainingInterrupted(f"interrupted after the last step: {folder} is finished", number)
        raise TrainingInterrupted(
            f"interrupted in epoch {len(self.history) + 1} of {self.spec.training.num_epochs}, after {self.recordings} "
            f"of {len(self.train_set)} recordings; saved; to go on: {resume_command(folder)}",
            number,
        )

    def _save(self) -> None:
        self._require_finite([])
        self.recorder.save(self._state(), self._metrics())

    def _state(self) -> TrainingState:
        losses = torch.stack(self.losses) if self.losses else torch.zeros(0, self.spec.network.layers)
        return TrainingState(
            spec=self.spec,
            description=self.description,
            classes=list(self.train_set.classes),
            data=self.data,
            environment=environment(self.device),
            history=self.history,
            recordings=self.recordings,
            rng=dict(self.rng_before),
            epoch_seconds=self.epoch_seconds,
            seconds=time.perf_counter() - self.began,
            weights=self.network.state_dict(),
            learner=self.learner.state_dict(),
            losses_bL=losses,
        )

    def _metrics(self, diverged: str | None = None) -> dict[str, Any]:
        training, best = self.spec.training, best_epoch(self.history)
        return {
            "classes": list(self.train_set.classes),
            "device": str(self.device),
            "train_recordings": len(self.train_set),
            "test_recordings": len(self.test_set),
            "finished": is_complete(self.history, training),
            "stopped_early": len(self.history) < training.num_epochs and stops_early(self.history, training),
            "diverged": diverged,
            "best_epoch": best,
            "test_accuracy": self.history[best - 1].test_accuracy if best else [],
            "seconds": time.perf_counter() - self.began,
            "history": [asdict(record) for record in self.history],
        }

    def _require_finite(self, loss_L: Sequence[float]) -> None:
        # Not later: a network of such weights still evaluates, and its accuracy would look like a result.
        broken = [name for name, value in self.network.named_parameters() if not bool(value.isfinite().all())]
        if broken or not np.isfinite(loss_L).all():
            raise self._diverged(broken[0] if broken else "the loss")

    def _diverged(self, what: str) -> UsageError:
        where = f"epoch {len(self.history) + 1}, after {self.recordings} recordings"
        self.recorder.note(self._metrics(diverged=f"{where}: {what} is no longer finite"))
        return UsageError(
            f"training.learning_rate {self.spec.training.learning_rate}: in {where} {what} is no longer finite; lower "
            f"it; {self.recorder.intact}"
        )


def _initialise(
    network: DecolleNetwork, spec: ModelSpec, recordings: BinnedRecordings, generator: torch.Generator
) -> None:
    """Initial weights other than those that layers are born with."""
    if spec.network.init == "decolle":
        initialise(network, "decolle", generator)
    if spec.network.init == "lsuv":  # on one batch of recordings from all over the training set
        count = min(spec.training.batch_size, len(recordings))
        which = np.linspace(0, len(recordings) - 1, count).round().astype(np.int64)
        spikes_TBI = torch.from_numpy(recordings.dense(which))
        lsuv(network, spikes_TBI, spec.network.lsuv_mean, spec.network.lsuv_variance, generator)
