"""Training speed on N-MNIST against the same maths written the usual way: a loop over time steps and autograd.

    python benchmarks/train_throughput.py --data FOLDER [--quick]     # FOLDER/{train,test}/<digit>/*.bin
    python benchmarks/train_throughput.py --paths                     # plain against event-driven, by density

Two networks: dense 512-512 at 2x34x34 (batch 64, 100 steps), and convolutions 16-32-32 of 7x7 with pooling 2-1-2 at
2x32x32, the middle of the sensor (batch 16, 60 steps); events in steps of 1 ms, all steps learn. Three modes: weights
change after the whole sequence, after every 10 steps, after every step.

The baseline is `sim_tests/per_step_autograd.py`, which is also the oracle of the tests. Before anything is timed both
must give the same spikes and the same gradient. Then they take turns in one process, from stored recordings to changed
weights, with torch's number of threads; each turn starts from the same weights and learns the same batches. A ratio is
the median over the turns of the time of the baseline over ours, and comparable between machines; seconds are not.
"""

# T steps, B batch, I inputs, C classes

from __future__ import annotations

import argparse
import functools
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from decolle_hw.data import BinnedRecordings, load_split
from decolle_hw.errors import DataError, SpecError
from decolle_hw.nn.network import DecolleNetwork
from decolle_hw.spec import DatasetSpec, ModelSpec, parse_model_spec
from decolle_hw.training.learner import Learner

sys.path.insert(0, str(Path(__file__).parents[1] / "sim_tests"))
from per_step_autograd import PerStepAutograd

SENSOR = (2, 34, 34)
MODES: tuple[int | str, ...] = ("sequence", 10, 1)
CLASSES = 10


@dataclass(frozen=True)
class Case:
    """A network, the input it gets, and the ratio asked of each mode."""

    name: str
    network: dict[str, object]
    input_shape: tuple[int, int, int]
    batch: int
    steps: int
    asked: dict[int | str, float]

    def spec(self, update_every: int | str, **training: object) -> ModelSpec:
        values = {
            "name": self.name,
            "dataset": {
                "input_shape": list(self.input_shape),
                "chunk_size_train": self.steps,
                "chunk_size_test": self.steps,
            },
            "network": self.network,
            "training": {
                "batch_size": self.batch, "burnin_steps": 0, "update_every": update_every,
                "optimizer": "Adamax", "learning_rate": 1e-3, **training,
            },
        }  # fmt: skip
        return parse_model_spec(values, self.name)

    def fresh_network(self) -> DecolleNetwork:
        """The network, always with the same initial weights: the library's own (uniform, bias 0)."""
        return DecolleNetwork(self.spec("sequence"), CLASSES, torch.Generator().manual_seed(0))

    def synapses_per_spike(self) -> list[int]:
        """Neurons that a spike at the input of each layer reaches (away from the border of a map)."""
        return [
            shape.neurons if shape.kind == "dense" else shape.kernel_size**2 * shape.map_shape[0] // shape.groups
            for shape in self.spec("sequence").shapes(CLASSES)
        ]

    def gflop_per_sample(self) -> float:
        """Multiplications and additions of dense arithmetic: W P and delta P^T, readout and its error, each step."""
        shapes = self.spec("sequence").shapes(CLASSES)
        products = sum(shape.neurons * shape.fan_in + shape.outputs * CLASSES for shape in shapes)
        return 2 * 2 * products * self.steps / 1e9


DENSE = Case("dense", {"Mhid": [512, 512]}, SENSOR, 64, 100, {"sequence": 5.0, 10: 4.0, 1: 1.5})
CONV = Case(
    "conv", {"Nhid": [16, 32, 32], "kernel_size": 7, "pool_size": [2, 1, 2]}, (2, 32, 32), 16, 60, {"sequence": 2.0}
)


@dataclass(frozen=True)
class Batch:
    """Some recordings, as both sides find them: a turn begins with what is stored, as an epoch of training does."""

    recordings: BinnedRecordings
    which: np.ndarray

    def spikes_TBI(self) -> torch.Tensor:
        """uint8."""
        return torch.from_numpy(self.recordings.dense(self.which))

    def target_BC(self) -> torch.Tensor:
        return torch.eye(CLASSES)[torch.from_numpy(self.recordings.labels[self.which])]


def read(folder: Path, case: Case) -> BinnedRecordings:
    """Training recordings in steps of 1 ms, the middle of the sensor."""
    dataset = DatasetSpec(
        name="folder", path=str(folder.absolute()), input_shape=list(case.input_shape), sensor_size=list(SENSOR[1:]),
        deltat=1000, chunk_size_train=case.steps, chunk_size_test=case.steps,
    )  # fmt: skip
    return load_split(dataset, "train")


def make_batches(case: Case, recordings: BinnedRecordings, count: int) -> list[Batch]:
    """`count` batches of a random choice of recordings (the same in each run)."""
    rng = np.random.default_rng(0)
    few = len(recordings) < case.batch
    return [Batch(recordings, rng.choice(len(recordings), case.batch, replace=few)) for _ in range(count)]


def firing_rates(network: DecolleNetwork, spikes_TBI: torch.Tensor) -> list[float]:
    """Spikes per neuron (after pooling) and step of each layer."""
    with torch.no_grad():
        outputs, _ = network(spikes_TBI, network.zero_state(spikes_TBI.shape[1]))
    return [output.spikes_TBN.float().mean().item() for output in outputs]


def check_equal(case: Case, batch: Batch) -> str:
    """Compare spikes and the gradient of one batch; returns what to print, raises SystemExit where they differ.

    SGD makes the change of a weight its gradient (times a large rate, as weights are rounded). Among some million
    potentials a few are within rounding of 0, or of another in the same pool, and spike or win on one side only; each
    is a term of a sum in which thousands cancel, so that the baseline in float32 is up to 1.4e-3 of the largest
    gradient from itself in float64 (convolutions). Hence 1e-4 of the spikes and 5e-3 of the largest gradient.
    """
    spec = case.spec("sequence", optimizer="SGD", learning_rate=1e3)
    spikes_TBI, target_BC = batch.spikes_TBI(), batch.target_BC()
    network = case.fresh_network()
    plain = PerStepAutograd(network, spec, record=True)
    with torch.no_grad():
        outputs, _ = network(spikes_TBI, network.zero_state(case.batch))
    before = [layer.weight.detach().clone() for layer in network.layers]
    plain.learn_batch(spikes_TBI, target_BC)
    Learner(network, spec.training, torch.device("cpu")).learn_batch(spikes_TBI, target_BC)
    lines = []
    for index, (layer, other) in enumerate(zip(network.layers, plain.layers, strict=True)):
        theirs_TBN = torch.stack(plain.spikes[index]).flatten(2)
        differing = (outputs[index].spikes_TBN != theirs_TBN).double().mean().item()
        change, expected = layer.weight.detach() - before[index], other.weight.detach() - before[index]
        error = ((change - expected).abs().max() / expected.abs().max()).item()
        if differing > 1e-4 or error > 5e-3:
            sys.exit(
                f"{case.name}, layer {index}: {differing:.1e} of the spikes differ from the baseline, and the gradient "
                f"by {error:.1e} of its largest entry: the two do not compute the same, so no speed is reported"
            )
        rates = f"{outputs[index].spikes_TBN.float().mean().item():.4f} / {theirs_TBN.mean().item():.4f}"
        lines.append(
            f"  layer {index}: firing rate ours / baseline {rates}, spikes differing {differing:.1e}, "
            f"gradient differing {error:.1e} of its largest entry"
        )
    return "\n".join(lines)


def seconds(function: Callable[[], object]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def learn_densely(subject: PerStepAutograd, batch: Batch) -> object:
    return subject.learn_batch(batch.spikes_TBI(), batch.target_BC())


def learn_events(subject: Learner, batch: Batch) -> object:
    return subject.learn_recordings(batch.recordings, batch.which)


def sgemm_peak(repeats: int = 15) -> float:
    """GFLOP/s of the fastest of some 2048^3 float32 products, all threads."""
    a, b = torch.randn((2, 2048, 2048), generator=torch.Generator().manual_seed(0))
    out = torch.empty(2048, 2048)
    return 2 * 2048**3 / min(seconds(lambda: torch.mm(a, b, out=out)) for _ in range(repeats)) / 1e9


def memory_bandwidth(repeats: int = 10) -> float:
    """GB/s read and written by the fastest of some copies of 256 MiB, all threads."""
    source, target = torch.zeros(2**26), torch.ones(2**26)
    return 2 * 2**28 / min(seconds(lambda: target.copy_(source)) for _ in range(repeats)) / 1e9


def describe_load() -> str:
    """Machine and what else it is doing: torch's threads wait by spinning, which other programs make expensive."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    text = f"torch {torch.__version__}, {torch.get_num_threads()} threads of {os.cpu_count()} cores, load {load:.1f}"
    return text + ("; BUSY: ratios favour us, repeat on an idle machine" if load > 0.5 else "")


def measure(case: Case, mode: int | str, batches: list[Batch], repeats: int, peak: float) -> str:
    """A row of the table. The first turn warms up and does not count."""
    spec = case.spec(mode)
    times: dict[str, list[float]] = {"ours": [], "baseline": []}
    rates: dict[str, list[float]] = {}
    for turn in range(repeats + 1):
        for name, spent in times.items():
            network = case.fresh_network()
            baseline = name == "baseline"
            subject: PerStepAutograd | Learner
            if baseline:
                subject = PerStepAutograd(network, spec)
                learn = functools.partial(learn_densely, subject)
            else:
                subject = Learner(network, spec.training, torch.device("cpu"))
                learn = functools.partial(learn_events, subject)
            took = seconds(lambda learn=learn: [learn(batch) for batch in batches])
            if turn:
                spent.append(took)
            elif isinstance(subject, PerStepAutograd):
                for ours, theirs in zip(network.layers, subject.layers, strict=True):
                    ours.weight.data.copy_(theirs.weight.detach())
                    ours.bias.data.copy_(theirs.bias.detach())
            rates[name] = rates.get(name) or firing_rates(network, batches[0].spikes_TBI())
    samples = case.batch * len(batches)
    ratios = [theirs / ours for ours, theirs in zip(times["ours"], times["baseline"], strict=True)]
    per_second = {name: samples / statistics.median(spent) for name, spent in times.items()}
    gflops = {name: case.gflop_per_sample() * value for name, value in per_second.items()}
    events = sum(int(batch.spikes_TBI().count_nonzero()) for batch in batches) / samples
    shapes = spec.shapes(CLASSES)
    spikes_of = [case.steps * shape.outputs * rate for shape, rate in zip(shapes, rates["ours"], strict=True)]
    into = zip([events, *spikes_of[:-1]], case.synapses_per_spike(), strict=True)
    synaptic = sum(spikes * synapses for spikes, synapses in into)
    cells = (
        case.name,
        str(mode),
        f"{per_second['ours']:.0f}",
        f"{per_second['baseline']:.0f}",
        f"**{statistics.median(ratios):.2f}** ({min(ratios):.2f}..{max(ratios):.2f})",
        f"{case.asked[mode]:g}" if mode in case.asked else "-",
        f"{gflops['ours']:.0f} ({100 * gflops['ours'] / peak:.0f} %)",
        f"{gflops['baseline']:.0f} ({100 * gflops['baseline'] / peak:.0f} %)",
        f"{events * per_second['ours'] / 1e3:.0f}",
        f"{2 * synaptic * per_second['ours'] / 1e9:.2f}",
        " and ".join("/".join(f"{rate:.3f}" for rate in rates[name]) for name in ("ours", "baseline")),
    )
    return "| " + " | ".join(cells) + " |"


COLUMNS = (
    "network", "update_every", "ours, samples/s", "baseline, samples/s", "ratio (range)", "asked",
    "ours, GFLOP/s (of sgemm)", "baseline, GFLOP/s", "ours, 1000 input events/s", "ours, 1e9 synaptic events/s",
    "firing rates at the end",
)  # fmt: skip
HEADER = "| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|"


def compare_paths(repeats: int) -> None:
    """Time of a chunk on the plain path over that on the event-driven one, for single layers and random input.

    Above 1 events are faster. `decolle_hw.nn.engine` takes its limits from here.
    """
    layers = {
        "dense 2312 -> 512, batch 64": Case("dense", {"Mhid": [512]}, SENSOR, 64, 100, {}),
        "dense 512 -> 512, batch 64": Case("dense", {"Mhid": [512]}, (2, 16, 16), 64, 100, {}),
        "conv 2x32x32 -> 16, 7x7, pool 2, batch 16": Case(
            "conv", {"Nhid": [16], "kernel_size": 7, "pool_size": 2}, (2, 32, 32), 16, 60, {}
        ),
    }
    densities = (0.01, 0.06, 0.1, 0.15, 0.2, 0.3)
    print("| layer | update_every | " + " | ".join(f"{100 * density:g} %" for density in densities) + " |")
    print("|---" * (2 + len(densities)) + "|")
    for name, case in layers.items():
        for mode in ("sequence", 10, 3):
            cells = [path_ratio(case, mode, density, repeats) for density in densities]
            print(f"| {name} | {mode} | " + " | ".join(f"{cell:.2f}" for cell in cells) + " |", flush=True)


def path_ratio(case: Case, mode: int | str, density: float, repeats: int) -> float:
    """Median time of a random batch on the plain path over that on the event-driven one."""
    shape = (case.steps, case.batch, int(np.prod(case.input_shape)))
    spikes_TBI = (torch.rand(shape, generator=torch.Generator().manual_seed(0)) < density).to(torch.uint8)
    target_BC = torch.eye(CLASSES)[torch.arange(case.batch) % CLASSES]
    training = case.spec(mode).training
    times: dict[str, list[float]] = {"plain": [], "events": []}
    for turn in range(repeats + 1):
        for path, spent in times.items():
            learner = Learner(case.fresh_network(), training, torch.device("cpu"), path)
            took = seconds(functools.partial(learner.learn_batch, spikes_TBI, target_BC))
            spent += [took] if turn else []
    return statistics.median(times["plain"]) / statistics.median(times["events"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="N-MNIST recordings: FOLDER/{train,test}/<digit>/*.bin")
    parser.add_argument("--network", choices=["dense", "conv"], help="only this one")
    parser.add_argument("--mode", choices=[str(mode) for mode in MODES], help="only this one")
    parser.add_argument("--batches", type=int, default=3, help="batches in a turn")
    parser.add_argument("--repeats", type=int, default=7, help="turns of each, after one to warm up")
    parser.add_argument("--paths", action="store_true", help="compare the library's own two paths instead")
    parser.add_argument("--quick", action="store_true", help="one batch in a turn, 3 turns")
    options = parser.parse_args()
    count, repeats = (1, 3) if options.quick else (options.batches, options.repeats)
    print(describe_load(), flush=True)
    if options.paths:
        compare_paths(repeats)
        return
    if options.data is None:
        parser.error("--data FOLDER is missing: recordings of N-MNIST, FOLDER/{train,test}/<digit>/*.bin")
    cases = [case for case in (DENSE, CONV) if options.network in (None, case.name)]
    try:
        of_cases = [read(options.data, case) for case in cases]
    except (DataError, SpecError) as error:
        sys.exit(f"error: {error}\nThis benchmark needs recordings of N-MNIST, FOLDER/{{train,test}}/<digit>/*.bin")
    peak, bandwidth = sgemm_peak(), memory_bandwidth()
    print(f"measured peak of sgemm {peak:.0f} GFLOP/s, of a copy in memory {bandwidth:.1f} GB/s")
    rows = []
    for case, recordings in zip(cases, of_cases, strict=True):
        batches = make_batches(case, recordings, count)
        density = float(np.mean([batch.spikes_TBI().float().mean().item() for batch in batches]))
        print(
            f"{case.name}: batch {case.batch}, {case.steps} steps, {100 * density:.2f} % of inputs active in a step, "
            f"{case.gflop_per_sample():.3f} GFLOP of dense arithmetic a sample; before learning"
        )
        print(check_equal(case, batches[0]), flush=True)
        for mode in MODES:
            if options.mode in (None, str(mode)):
                rows.append(measure(case, mode, batches, repeats, peak))
                print(HEADER + "\n" + rows[-1] if len(rows) == 1 else rows[-1], flush=True)


if __name__ == "__main__":
    main()
