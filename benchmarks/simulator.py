"""How much faster is the reference simulator than Lava's CPU simulator, on the same network and recordings?

    python benchmarks/reference_vs_lava.py NAME.net             recordings at random, of the artifact's length
    python benchmarks/reference_vs_lava.py --random cuba        a random network 512-512-128-128 of 300 steps
    python benchmarks/reference_vs_lava.py --random decolle --rate 0.05 --samples 8 --repeats 5

Both run the same recordings in turn, reference first, then Lava, `--repeats` times over; what is printed are medians
and their ratio. Every spike of every layer is compared in each repeat: a speed for another result is worth nothing.
Lava's time includes building and stopping its processes, once per call of `run_lava`, as a user pays for it; the
share of that is small from some ten recordings on (`--samples`). The reference is also timed on as many recordings
as fill it (`--batch`), and with its registers recorded.

How far is the kernel from the machine? Counted, for one call:

    additions   spikes in x neurons, one 32-bit addition each                       (add_rows)
    updates     neurons x steps x `OPERATIONS` 64-bit operations each               (step_*, fire, reset)
    bytes       spikes read and written, weight rows of spiking inputs, registers where recorded

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
from decolle_hw.compiler.program import Program
from decolle_hw.lava_backend.runner import run_lava
from decolle_hw.sim.compare import compare
from decolle_hw.sim.random_program import random_program
from decolle_hw.sim.reference import run_reference
from decolle_hw.sim.trace import Trace

SIZES = (512, 512, 128, 128)
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


def random_network(neuron: str, rate: float, rng: np.random.Generator) -> Program:
    """The first random network whose layers all spike, but no more often than trained ones do."""
    while True:
        program = random_program(
            rng, "cuba" if neuron == "cuba" else "decolle", sizes=SIZES, steps=300, like_quantizer=True
        )
        rates = run_reference(program, recordings(program, 4, rate, rng)).firing_rates()
        if min(rates) > 0.002 and max(rates) < 0.2:
            return program


def recordings(program: Program, count: int, rate: float, rng: np.random.Generator) -> np.ndarray:
    return (rng.random((count, program.steps, program.num_inputs)) < rate).astype(np.uint8)


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


def work(program: Program, spikes_RTI: np.ndarray, trace: Trace, record: bool) -> tuple[float, float]:
    """(operations, bytes) that one call of the reference needs at least."""
    operations, moved, arriving = 0.0, 0.0, spikes_RTI
    for layer, out in zip(program.layers, trace.layers, strict=True):
        row_additions = float(arriving[:, :-1].sum()) * layer.num_neurons
        updates = arriving.shape[0] * arriving.shape[1] * layer.num_neurons
        registers = (3 if layer.neuron == "decolle" else 2) * 4 * record
        operations += row_additions + updates * OPERATIONS[layer.neuron]
        moved += arriving.nbytes + 2 * row_additions + updates * (1 + registers)
        arriving = out.spikes
    return operations, moved


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("artifact", nargs="?", type=Path)
    what.add_argument("--random", choices=("cuba", "decolle"))
    parser.add_argument("--rate", type=float, default=0.02, help="spikes per input and step")
    parser.add_argument("--samples", type=int, default=8, help="recordings in each run of both")
    parser.add_argument("--batch", type=int, default=128, help="recordings in the runs of the reference alone")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    program = load_artifact(options.artifact) if options.artifact else random_network(options.random, options.rate, rng)
    spikes_RTI = recordings(program, options.samples, options.rate, rng)
    rates = ", ".join(f"{rate:.3f}" for rate in run_reference(program, spikes_RTI, record=True).firing_rates())
    shape = "-".join(str(n) for n in (program.num_inputs, *(layer.num_neurons for layer in program.layers)))
    print(f"{program.name}: {shape} {program.layers[0].neuron}, {program.steps} steps, firing rates {rates}")
    print(f"{options.samples} recordings, {options.repeats} repeats, {numba.get_num_threads()} threads, medians:")
    for record in (False, True):
        ours, theirs = [], []
        for _ in range(options.repeats):
            seconds, reference = timed(lambda record=record: run_reference(program, spikes_RTI, record=record))
            ours.append(seconds)
            seconds, lava = timed(lambda record=record: run_lava(program, spikes_RTI, record=record))
            theirs.append(seconds)
            result = compare(program, reference, lava)
            if not result.equal:
                raise SystemExit(f"NOT EQUAL: {result.first}")
        mine, other = (options.samples / statistics.median(seconds) for seconds in (ours, theirs))
        print(
            f"  {'spikes and registers' if record else 'spikes only':21s} reference {mine:9.1f} samples/s, "
            f"Lava {other:7.3f} samples/s, ratio {mine / other:8.0f}; {result.compared} values equal per repeat"
        )
    many_RTI = recordings(program, options.batch, options.rate, rng)
    operations_limit, bytes_limit = machine_limits()
    print(
        f"limits of one core: {operations_limit / 1e9:.1f} G 64-bit operations/s, {bytes_limit / 1e9:.1f} GB/s copied"
    )
    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    for record in (False, True):
        seconds, trace = cpu_seconds(lambda record=record: run_reference(program, many_RTI, record=record))
        operations, moved = work(program, many_RTI, trace, record)
        least = max(operations / operations_limit, moved / bytes_limit)
        print(
            f"  one thread, {options.batch} recordings, {'registers too' if record else 'spikes only'}: "
            f"{options.batch / seconds:.0f} samples/s; {operations / 1e9:.2f} G operations, {moved / 1e9:.2f} GB, "
            f"at least {least * 1e3:.0f} ms of the {seconds * 1e3:.0f} ms taken ({least / seconds:.0%})"
        )
    numba.set_num_threads(threads)


if __name__ == "__main__":
    main()
