"""Is loading of data the bottleneck? Recordings per second of each stage against what learning takes.

    python benchmarks/data.py --data FOLDER [--model nmnist] [--quick]     # N-MNIST: FOLDER/{train,test}/<digit>/*.bin

Stages: reading and binning with nothing kept, in this process and in several; the same from the disk cache; making
batches of what is in memory, dense and as events. The appetite is what the real learner takes of a model of the zoo,
from stored recordings to changed weights. They take turns in one process, each once to warm up; a ratio is the median
over the turns of the rate of a stage over the appetite of the same turn, and comparable between machines; rates are
not.

Training reads its recordings once, and makes batches in every epoch. The line `an epoch from the cache` counts both in
one epoch: all recordings from the disk cache and all batches of them. It is asked to be at least 5 times the appetite.
"""

# B batch

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from decolle_hw.data import BinnedRecordings, cache, load_split
from decolle_hw.errors import DecolleHwError
from decolle_hw.nn.network import DecolleNetwork
from decolle_hw.spec import ModelSpec, load_model_spec, with_folder
from decolle_hw.training.learner import Learner

ASKED = 5.0
LEARNED_BATCHES = 4  # in a turn
Stage = Callable[[], int]  # does its work once and says for how many recordings


class Stages:
    """What takes turns; every stage is given the same recordings and leaves nothing behind for the next."""

    def __init__(self, spec: ModelSpec, workers: int) -> None:
        self.spec, self.workers = spec, workers
        self.recordings = load_split(spec.dataset, "train")  # and so kept in the cache
        self.learner = self._fresh_learner()

    def all(self) -> dict[str, Stage]:
        """By the name that is printed; the last is the appetite."""
        stages: dict[str, Stage] = {"reading and binning, this process": lambda: self.read_cold(0)}
        if self.workers:
            stages[f"reading and binning, {self.workers} processes"] = lambda: self.read_cold(self.workers)
        stages |= {
            "from the cache": lambda: len(load_split(self.spec.dataset, "train")),
            "dense batches": lambda: self.make_batches(BinnedRecordings.dense),
            "batches of events": lambda: self.make_batches(BinnedRecordings.events),
            "an epoch from the cache": self.epoch_from_the_cache,
        }
        return {**stages, "appetite of learning": self.learn}

    def read_cold(self, workers: int) -> int:
        """Nothing is known of the files, neither in the cache nor what the survey found."""
        dataset = self.spec.dataset.model_copy(update={"cache": False, "workers": workers})
        usual = os.environ.get(cache.FOLDER_VARIABLE)
        with tempfile.TemporaryDirectory() as empty:
            os.environ[cache.FOLDER_VARIABLE] = empty
            try:
                return len(load_split(dataset, "train"))
            finally:
                os.environ.pop(cache.FOLDER_VARIABLE)
                if usual is not None:
                    os.environ[cache.FOLDER_VARIABLE] = usual

    def make_batches(self, make: Callable[[BinnedRecordings, np.ndarray], object]) -> int:
        """All batches of an epoch, of what is in memory."""
        for which_B in self.batches():
            make(self.recordings, which_B)
        return len(self.recordings)

    def epoch_from_the_cache(self) -> int:
        """All recordings from the disk, and all batches of them as the learner asks for them."""
        recordings = load_split(self.spec.dataset, "train")
        for which_B in self.batches():
            recordings.events(which_B)
        return len(recordings)

    def learn(self) -> int:
        """From stored recordings to changed weights."""
        count = 0
        for _, which_B in zip(range(LEARNED_BATCHES), self.batches(), strict=False):
            self.learner.learn_recordings(self.recordings, which_B)
            count += len(which_B)
        return count

    def batches(self) -> Iterator[np.ndarray]:
        """Shuffled, the same in each turn."""
        order = np.random.default_rng(0).permutation(len(self.recordings))
        size = self.spec.training.batch_size
        return (order[first : first + size] for first in range(0, len(order), size))

    def _fresh_learner(self) -> Learner:
        network = DecolleNetwork(self.spec, len(self.recordings.classes), torch.Generator().manual_seed(0))
        return Learner(network, self.spec.training, torch.device("cpu"))


def measure(stages: dict[str, Stage], repeats: int) -> dict[str, list[float]]:
    """Recordings per second of each stage in each turn; the first turn warms up and does not count."""
    rates: dict[str, list[float]] = {name: [] for name in stages}
    for turn in range(repeats + 1):
        for name, stage in stages.items():
            began = time.perf_counter()
            count = stage()
            rate = count / (time.perf_counter() - began)
            rates[name] += [rate] if turn else []
    return rates


def table(rates: dict[str, list[float]]) -> str:
    """Markdown; the appetite stands last."""
    appetite = list(rates.values())[-1]
    lines = ["| stage | recordings/s | times the appetite (range) |", "|---|---|---|"]
    for name, of_stage in rates.items():
        ratios = [rate / eaten for rate, eaten in zip(of_stage, appetite, strict=True)]
        lines.append(
            f"| {name} | {statistics.median(of_stage):,.0f} | **{statistics.median(ratios):.1f}** "
            f"({min(ratios):.1f}..{max(ratios):.1f}) |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="recordings: FOLDER/{train,test}/<class>/*")
    parser.add_argument("--model", default="nmnist", help="of the zoo, or a YAML; it learns from a folder")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes that read; 0: none")
    parser.add_argument("--repeats", type=int, default=7, help="turns of each, after one to warm up")
    parser.add_argument("--quick", action="store_true", help="3 turns, no processes")
    options = parser.parse_args()
    repeats, workers = (3, 0) if options.quick else (options.repeats, options.workers)
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads of {os.cpu_count()} cores{load}", flush=True)
    with tempfile.TemporaryDirectory() as own_cache:
        os.environ[cache.FOLDER_VARIABLE] = own_cache
        try:
            spec = with_folder(load_model_spec(options.model), str(options.data))
            stages = Stages(spec, workers)
        except DecolleHwError as error:
            sys.exit(f"error: {error}")
        count, size = len(stages.recordings), len(stages.recordings.active) / len(stages.recordings)
        print(f"{spec.name}: {count} recordings, {size:.0f} active entries each, batches of {spec.training.batch_size}")
        rates = measure(stages.all(), repeats)
    print(table(rates))
    names = list(rates)
    ratio = statistics.median(
        rate / eaten for rate, eaten in zip(rates["an epoch from the cache"], rates[names[-1]], strict=True)
    )
    print(f"an epoch from the cache is {ratio:.1f} times the appetite, asked are {ASKED:g}")
    sys.exit(0 if ratio >= ASKED else 1)


if __name__ == "__main__":
    main()
