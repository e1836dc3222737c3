"""How much faster is the reference simulator than Lava's CPU simulator, on the same network and recordings?

    python benchmarks/simulator.py digits.net nmnist-conv.net --lava-samples 64 4
    python benchmarks/simulator.py --random cuba decolle         random networks 512-512-128-128 of 300 steps

Both run the artifact's own test recordings, in the same process, in turn, `--repeats` times over; what is printed are
medians, and the ratio of samples per second with its range. The reference runs `--batch` recordings at once (test sets
that are smaller are gone through again), Lava the first `--lava-samples` of them: its speed per recording does not
depend on their number but for building and stopping its processes, which is in its time, once per run, as a user pays
for it. Every spike of every layer of what both ran is compared in each repeat: a speed for another result is worth
nothing.

How far is the kernel from the machine? Counted, for one call:

    synaptic events  spikes x fan-out: one 32-bit addition each, two bytes of weight read
    updates          neurons x steps x `OPERATIONS` 64-bit operations each        (decolle_hw.sim.neuron_kernels)
    bytes            spikes read and written, weights of spiking inputs, registers where recorded

The limits they are set against are measured in the same process: a compiled loop of independent 64-bit multiply-adds
on arrays that stay in the first-level cache, and a copy of 256 MB. Both, and the kernel beside them, run on one
thread and are timed in CPU time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numba
import numpy as np

from decolle_hw.compiler.artifact import load_artifact
from decolle_hw.compiler.layers import Layer
from decolle_hw.compiler.program import Program
from decolle_hw.lava_backend.runner import run_lava
from decolle_hw.sim.compare import compare
from decolle_hw.sim.random_program import random_program
from decolle_hw.sim.reference import run_reference
from decolle_hw.sim.trace import Trace
from decolle_hw.workflow import load_test_recordings

SIZES = (512, 512, 128, 128)
RANDOM_RATE = 0.02  # spikes per input and step
# 64-bit operations per neuron and step, counted in the source of the kernels and of fixedpoint: multiply, add, shift,
# compare, select, absolute value and negation each as one.
OPERATIONS = {
    "cuba": 4 + 6 + 8 + 6 + 8 + 3 + 2,  # shift_sum+align, decay, wrap+to_int32, decay, saturate+sums, fire, reset
    "decolle": 4 + 6 + 8 + 6 + 8 + 4 + 6 + 6,  # the same with v + r in fire, no reset, and decay and saturate of r
}
Result = TypeVar("Result")


def timed(run: Callable[[], Result], clock: Callable[[], float] = time.perf_counter) -> tuple[float, Result]:
    start = clock()
    result = run()
    return clock() - start, result


def cpu_seconds(run: Callable[[], Result]) -> tuple[float, Result]:
    """The shortest of three, in CPU time: other processes on the machine do not count."""
    return min((timed(run, time.process_time) for _ in range(3)), key=lambda timing: timing[0])


def random_network(neuron: str, rng: np.random.Generator) -> Program:
    """The first random network whose layers all spike, but no more often than trained ones do."""
    while True:
        kind = "cuba" if neuron == "cuba" else "decolle"
        program = random_program(rng, kind, sizes=SIZES, steps=300, like_quantizer=True)
        rates = run_reference(program, random_recordings(program, 4, rng)).firing_rates()
        if min(rates) > 0.002 and max(rates) < 0.2:
            return program


def random_recordings(program: Program, count: int, rng: np.random.Generator) -> np.ndarray:
    return (rng.random((count, program.steps, program.num_inputs)) < RANDOM_RATE).astype(np.uint8)


def test_recordings(program: Program, data: str | None, count: int) -> np.ndarray:
    """(count, T, I): the test recordings, from the beginning again where there are fewer."""
    recordings = load_test_recordings(program, data)
    which = np.arange(min(count, len(recordings)))
    spikes_RTI = np.ascontiguousarray(recordings.dense(which).transpose(1, 0, 2))
    return np.resize(spikes_RTI, (count, *spikes_RTI.shape[1:]))


@numba.njit
def multiply_add(values: np.ndarray, rounds: int) -> None:
    for _ in range(rounds):
        for i in range(values.shape[0]):
            values[i] = values[i] * 5 + 3


def machine_limits() -> tuple[float, float]:
    """(64-bit operations per second, bytes copied per second) of one core."""
    values = np.zeros(1024, np.int64)  # 8 KB
    multiply_add(values, 1)
    rounds = 200_000
    operations = 2 * values.size * rounds / cpu_seconds(lambda: multiply_add(values, rounds))[0]
    source = np.zeros(32 * 2**20, np.int64)
    target = np.ones_like(source)
    copied = 2 * source.nbytes / cpu_seconds(lambda: np.copyto(target, source))[0]
    return operations, copied


def synaptic_events(layer: Layer, arriving_RTI: np.ndarray) -> float:
    counted = arriving_RTI if layer.is_pooling else arriving_RTI[:, :-1]
    return float(counted.sum((0, 1), dtype=np.int64) @ layer.fan_out())


def work(program: Program, spikes_RTI: np.ndarray, trace: Trace, record: bool) -> tuple[float, float, float]:
    """(synaptic events, operations, bytes) that one call of the reference needs at least."""
    events, operations, moved, arriving = 0.0, 0.0, 0.0, spikes_RTI
    for layer, out in zip(program.layers, trace.layers, strict=True):
        of_layer = synaptic_events(layer, arriving)
        updates = arriving.shape[0] * arriving.shape[1] * layer.num_neurons
        registers = (3 if layer.neuron == "decolle" else 2) * 4 * record
        events += of_layer
        operations += of_layer + updates * OPERATIONS[layer.neuron]
        moved += arriving.nbytes + 2 * of_layer + updates * (1 + registers)
        arriving = out.spikes
    return events, operations, moved


def shape_of(program: Program) -> str:
    maps = ["x".join(map(str, layer.map_shape)) for layer in program.layers]
    return " - ".join(["x".join(map(str, program.input_shape)), *maps])


def against_lava(program: Program, batch_RTI: np.ndarray, lava_samples: int, repeats: int, record: bool) -> str:
    few_RTI = batch_RTI[:lava_samples]
    run_reference(program, few_RTI, record=record)  # compiles
    ours, theirs, ratios = [], [], []
    for _ in range(repeats):
        seconds, whole = timed(lambda: run_reference(program, batch_RTI, record=record))
        ours.append(len(batch_RTI) / seconds)
        seconds, lava = timed(lambda: run_lava(program, few_RTI, record=record))
        theirs.append(len(few_RTI) / seconds)
        ratios.append(ours[-1] / theirs[-1])
        result = compare(program, whole.take(0, len(few_RTI)), lava)
        if not result.equal:
            raise SystemExit(f"NOT EQUAL: {result.first}")
    return (
        f"{'registers too' if record else 'spikes only'}: reference {statistics.median(ours):.1f} samples/s "
        f"(batch {len(batch_RTI)}), Lava {statistics.median(theirs):.3f} samples/s ({len(few_RTI)} recordings), "
        f"ratio {statistics.median(ratios):.0f} ({min(ratios):.0f}..{max(ratios):.0f}); "
        f"{result.compared:,} values equal in each of {repeats} repeats"
    )


def on_one_thread(program: Program, batch_RTI: np.ndarray, limits: tuple[float, float], record: bool) -> str:
    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    seconds, trace = cpu_seconds(lambda: run_reference(program, batch_RTI, record=record))
    numba.set_num_threads(threads)
    events, operations, moved = work(program, batch_RTI, trace, record)
    least = max(operations / limits[0], moved / limits[1])
    bound = "arithmetic" if operations / limits[0] >= moved / limits[1] else "memory"
    return (
        f"one thread, {'registers too' if record else 'spikes only'}: {len(batch_RTI) / seconds:.0f} samples/s, "
        f"{events / seconds / 1e6:.0f} M synaptic events/s ({events / len(batch_RTI) / 1e6:.2f} M per sample), "
        f"{operations / seconds / 1e9:.2f} G operations/s ({operations / seconds / limits[0]:.0%} of peak), "
        f"{moved / seconds / 1e9:.2f} GB/s ({moved / seconds / limits[1]:.0%} of peak); "
        f"{least / seconds:.0%} of its {bound} limit"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifacts", nargs="*", type=Path)
    parser.add_argument("--random", nargs="*", choices=("cuba", "decolle"), default=[])
    parser.add_argument("--data", help="folder of recordings, for artifacts whose own data are elsewhere")
    parser.add_argument("--batch", type=int, default=256, help="recordings in a run of the reference")
    parser.add_argument("--lava-samples", type=int, nargs="+", default=[8], help="in a run of Lava, per network")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--registers", action="store_true", help="also with u, v and r recorded")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if not options.artifacts and not options.random:
        parser.error("give an artifact, or --random")
    rng = np.random.default_rng(options.seed)
    programs = [load_artifact(path) for path in options.artifacts]
    batches = [test_recordings(program, options.data, options.batch) for program in programs]
    for neuron in options.random:
        programs.append(random_network(neuron, rng))
        batches.append(random_recordings(programs[-1], options.batch, rng))
    limits = machine_limits()
    print(
        f"limits of one core: {limits[0] / 1e9:.1f} G 64-bit operations/s, {limits[1] / 1e9:.1f} GB/s copied; "
        f"{numba.get_num_threads()} threads"
    )
    for place, (program, batch_RTI) in enumerate(zip(programs, batches, strict=True)):
        samples = min(options.lava_samples[min(place, len(options.lava_samples) - 1)], options.batch)
        rates = ", ".join(f"{rate:.3f}" for rate in run_reference(program, batch_RTI[:samples]).firing_rates())
        print(f"{program.name}: {shape_of(program)}, {program.steps} steps, firing rates {rates}")
        for record in (False, True)[: 1 + options.registers]:
            print("  " + against_lava(program, batch_RTI, samples, options.repeats, record), flush=True)
            print("  " + on_one_thread(program, batch_RTI, limits, record), flush=True)


if __name__ == "__main__":
    main()
