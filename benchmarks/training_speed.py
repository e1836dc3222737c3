"""Training speed against the same maths written the usual way: a loop over time steps and autograd.

    python benchmarks/training_speed.py [--batches 8] [--repeats 3]

The baseline runs step by step, with a spike that is a torch.autograd.Function, a local loss on each readout, all states
detached, `.backward()` and torch's Adamax every `update_every` steps. Before anything is timed, both must give equal
spikes and gradients on a batch. Runs alternate (ours, baseline, ours, ...) in one process; medians are printed. Ratios
are comparable between machines and loads, seconds are not. The share of the peak relates the multiplications that a
dense network needs to the fastest plain float32 matrix product measured here.
"""

# T steps, B batch, I inputs, N neurons, C classes

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from decolle_hw.data import load_split
from decolle_hw.nn.network import DecolleNetwork
from decolle_hw.spec import ModelSpec, load_model_spec
from decolle_hw.training.learner import Learner, chunks

NMNIST = (
    "dataset.input_shape=[2, 34, 34]",
    "dataset.chunk_size_train=300",
    "dataset.chunk_size_test=300",
    "training.burnin_steps=60",
    "training.update_every=sequence",
)
NMNIST_DENSITY = 0.006  # share of (step, input) pairs with an event, at 1 ms


class Spike(torch.autograd.Function):
    """Step function with the derivative of the fast sigmoid."""

    @staticmethod
    def forward(ctx, potential):
        ctx.save_for_backward(potential)
        return (potential > 0).float()

    @staticmethod
    def backward(ctx, gradient):
        (potential,) = ctx.saved_tensors
        return gradient / (1.0 + 10.0 * potential.abs()) ** 2


class PlainLayer(nn.Module):
    """One layer with its states; `forward` is one time step and returns (detached spikes, potential, readout)."""

    def __init__(self, ours: nn.Module, batch: int) -> None:
        super().__init__()
        self.dynamics, self.index, self.t = ours.dynamics, ours.index, 0
        self.weight = nn.Parameter(ours.weight.detach().clone())
        self.bias = nn.Parameter(ours.bias.detach().clone())
        self.G, self.g = ours.readout_weight, ours.readout_bias
        units, inputs = self.weight.shape
        self.Q = self.P = torch.zeros(batch, inputs)
        self.R = self.S = torch.zeros(batch, units)  # R is v for cuba

    def forward(self, spikes_BI: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        dyn = self.dynamics
        Q_before = self.Q
        self.P = dyn.alpha * self.P + (1 - dyn.alpha) * self.Q
        self.Q = dyn.beta * self.Q + (1 - dyn.beta) * spikes_BI
        if dyn.neuron == "decolle":
            self.R = dyn.alpharp * self.R - (1 - dyn.alpharp) * dyn.wrp * self.S
            U = nn.functional.linear(self.P, self.weight, self.bias) + self.R
        else:
            with torch.no_grad():
                current = nn.functional.linear(Q_before, self.weight, self.bias)
                current = current * float(self.t >= self.index + 1)
                v = dyn.alpha * self.R + (1 - dyn.alpha) * current
            U = v - dyn.vth
            if torch.is_grad_enabled():  # value of v - vth, derivative of W P + b
                through = nn.functional.linear(self.P, self.weight, self.bias)
                U = U + (through - through.detach())
            self.R = v.masked_fill(U.detach() > 0, 0.0)
        S = Spike.apply(U)
        self.S = S.detach()
        self.t += 1
        return self.S, U.detach(), nn.functional.linear(S, self.G, self.g)


class Plain:
    """The baseline's learner: autograd on the sum of the local losses of `update_every` steps."""

    def __init__(self, network: DecolleNetwork, spec: ModelSpec, batch: int) -> None:
        self.spec = spec.training
        self.layers = nn.ModuleList(PlainLayer(layer, batch) for layer in network.layers)
        self.loss = nn.functional.smooth_l1_loss
        self.optimizer = torch.optim.Adamax(
            self.layers.parameters(), lr=self.spec.learning_rate, betas=tuple(self.spec.betas)
        )

    def learn_batch(self, spikes_TBI: torch.Tensor, target_BC: torch.Tensor) -> None:
        for layer in self.layers:
            layer.t = 0
            for state in ("Q", "P", "R", "S"):
                setattr(layer, state, torch.zeros_like(getattr(layer, state)))
        spikes_TBI = spikes_TBI.float()
        for start, stop, learns in chunks(len(spikes_TBI), self.spec.burnin_steps, self.spec.update_every):
            self.optimizer.zero_grad()
            total = torch.zeros(())
            with torch.set_grad_enabled(learns):
                for t in range(start, stop):
                    x = spikes_TBI[t]
                    for layer in self.layers:
                        x, _, readout_BC = layer(x)
                        total = total + self.loss(readout_BC, target_BC)
            if learns:
                total.backward()
                self.optimizer.step()


@dataclass
class Case:
    name: str
    spec: ModelSpec
    batches: list[tuple[torch.Tensor, torch.Tensor]]  # (T, B, I) uint8, (B, C)

    def network(self) -> DecolleNetwork:
        return DecolleNetwork(self.spec, 10, torch.Generator().manual_seed(0))


def digits_case(name: str, batches: int) -> Case:
    spec = load_model_spec(name)
    recordings = load_split(spec.dataset, "train", lambda *_: None)
    size = min(spec.training.batch_size, len(recordings))
    order = np.random.default_rng(0).permutation(len(recordings))
    picks = [order[start : start + size] for start in range(0, len(order) - size + 1, size)][:batches]
    data = [
        (torch.from_numpy(recordings.dense(pick)), torch.eye(10)[torch.from_numpy(recordings.labels[pick])])
        for pick in picks
    ]
    return Case(name, spec, data)


def nmnist_case(batches: int) -> Case:
    spec = load_model_spec("digits", NMNIST)
    rng = np.random.default_rng(0)
    shape = (spec.dataset.chunk_size_train, spec.training.batch_size, spec.num_inputs)
    data = []
    for _ in range(batches):
        labels = torch.from_numpy(rng.integers(0, 10, shape[1]))
        spikes = rng.random(shape, np.float32) < NMNIST_DENSITY
        data.append((torch.from_numpy(spikes.view(np.uint8)), torch.eye(10)[labels]))
    return Case("N-MNIST size, synthetic", spec, data)


def check_equal(case: Case) -> tuple[float, float]:
    """Largest difference of gradients after one chunk relative to the largest gradient, and share of other spikes."""
    (spikes_TBI, target_BC), network = case.batches[0], case.network()
    ours, plain = Learner(network, case.spec.training, torch.device("cpu")), None
    plain = Plain(network, case.spec, len(target_BC))
    training = case.spec.training
    steps = training.burnin_steps + (10 if training.update_every == "sequence" else training.update_every)
    seen = []
    network.register_forward_hook(lambda _module, _arguments, result: seen.append(result[0]))
    ours.shards.count = 1
    for group in [*ours.optimizer.param_groups, *plain.optimizer.param_groups]:
        group["lr"] = 0.0
    ours.learn_batch(spikes_TBI[:steps], target_BC)
    plain.learn_batch(spikes_TBI[:steps], target_BC)
    differing = total = 0
    worst = 0.0
    for index, (layer, other) in enumerate(zip(network.layers, plain.layers, strict=True)):
        last = seen[-1][index].spikes_TBN[-1]
        differing += int((last != other.S).sum())
        total += last.numel()
        for a, b in ((layer.weight.grad, other.weight.grad), (layer.bias.grad, other.bias.grad)):
            worst = max(worst, ((a - b).abs().max() / b.abs().max()).item())
    return worst, differing / total


def gflop_per_sample(spec: ModelSpec) -> float:
    """Dense multiply-adds, counted as two: W P in each step, delta P^T in each learning step, readouts likewise."""
    steps, learning = spec.dataset.chunk_size_train, spec.dataset.chunk_size_train - spec.training.burnin_steps
    widths = [spec.num_inputs, *spec.network.Mhid]
    products = sum(a * b + b * 10 for a, b in itertools.pairwise(widths))
    return 2.0 * products * (steps + learning) / 1e9


def sgemm_peak(repeats: int = 15) -> float:
    """GFLOP/s of the fastest of some 2048^3 products, all threads."""
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    best = min(_seconds(lambda: a @ b) for _ in range(repeats))
    return 2 * 2048**3 / best / 1e9


def _seconds(function) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def compare(case: Case, repeats: int, peak: float) -> None:
    gradient, spikes = check_equal(case)
    # float32: sums of some thousand terms; a potential within rounding of zero may spike on one side only.
    assert gradient < 1e-4 and spikes < 1e-4, (case.name, gradient, spikes)
    network = case.network()
    plain = Plain(network, case.spec, len(case.batches[0][1]))
    ours = Learner(network, case.spec.training, torch.device("cpu"))
    # Torch's threads wait by spinning: where other programs want the cores too, one thread is faster than many.
    threads = torch.get_num_threads()
    subjects = {"ours": (ours, threads), "baseline": (plain, threads), "baseline, 1 thread": (plain, 1)}
    seconds: dict[str, list[float]] = {name: [] for name in subjects}
    for repeat in range(repeats + 1):
        for name, (subject, count) in subjects.items():
            torch.set_num_threads(count)
            spent = _seconds(lambda s=subject: [s.learn_batch(*batch) for batch in case.batches])
            if repeat:  # the first one warms up
                seconds[name].append(spent)
    torch.set_num_threads(threads)
    samples = sum(len(target) for _, target in case.batches)
    rate = {name: samples / statistics.median(values) for name, values in seconds.items()}
    cost = gflop_per_sample(case.spec)
    print(f"{case.name}: T={case.spec.dataset.chunk_size_train}, update_every={case.spec.training.update_every}")
    print(f"  equal: gradients to {gradient:.1e} of the largest, spikes differing {spikes:.1e}")
    for name, per_second in rate.items():
        ratios = [other / own for own, other in zip(seconds["ours"], seconds[name], strict=True)]
        print(
            f"  {name:20}{per_second:8.0f} samples/s, {100 * per_second * cost / peak:3.0f} % of the peak; "
            f"time over ours {statistics.median(ratios):.2f} ({min(ratios):.2f}..{max(ratios):.2f})"
        )
    print(f"  {cost:.3f} GFLOP a sample; peak {peak:.0f} GFLOP/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=8, help="batches of 72 digits; a quarter of it of N-MNIST")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.manual_seed(0)
    peak = sgemm_peak()
    print(f"{torch.get_num_threads()} threads, fastest sgemm {peak:.0f} GFLOP/s")
    for name in ("digits", "digits-cuba"):
        compare(digits_case(name, options.batches), options.repeats, peak)
    compare(nmnist_case(max(1, options.batches // 4)), options.repeats, peak)


if __name__ == "__main__":
    main()
