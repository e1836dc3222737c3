"""`decolle-hw verify`: float -> quantized -> integer reference -> Lava on the same recordings, with a verdict."""

# R recordings, T steps, I inputs

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from decolle_hw.compiler.artifact import load_artifact, newest_artifact
from decolle_hw.compiler.layers import Layer
from decolle_hw.compiler.program import Program
from decolle_hw.errors import UsageError
from decolle_hw.execution import Backend, as_given, lava_runner
from decolle_hw.fidelity.chain import FLOAT, LAVA, REFERENCE, Chain, RunOther, recordings_at_once, run_chain, stages_of
from decolle_hw.fidelity.intervals import wilson_interval
from decolle_hw.fixedpoint import STATE_LIMIT
from decolle_hw.nn.network import DecolleNetwork
from decolle_hw.progress import counting
from decolle_hw.sim.compare import Comparison, Counts, compare
from decolle_hw.sim.random_program import random_networks, random_spikes
from decolle_hw.sim.reference import run_reference
from decolle_hw.training.runs import Run
from decolle_hw.workflow import find_run, has_output_layer, stream_test_recordings

TOLERANCE = 1e-9  # percentage points: a drop of exactly --max-drop is allowed, however it is rounded


@dataclass(frozen=True)
class Verification:
    """Result of `verify_artifact`."""

    program: Program
    artifact: Path
    against: Path | None  # what the last stage ran instead of the artifact
    run: Path | None  # the training run of the float stage; None: not found
    runs: Path  # where it was looked for
    last_stage: str | None  # what was compared with the reference; None: nothing
    max_drop: float | None  # percentage points
    names: tuple[str, ...]  # of the recordings
    chain: Chain

    @property
    def drop(self) -> float | None:
        """Percentage points of accuracy lost from float to integer reference; None without the float stage."""
        if FLOAT not in self.chain.decisions:
            return None
        return 100.0 * (self.chain.hits(FLOAT) - self.chain.hits(REFERENCE)) / len(self.chain.labels)

    @property
    def failures(self) -> list[str]:
        """Why the verdict is a no; empty: it is a yes."""
        found = []
        comparison = self.chain.comparison
        if comparison is not None and not comparison.equal:
            first = comparison.first
            assert first is not None and self.last_stage is not None
            found.append(
                f"{self.last_stage} and the integer reference differ, first in layer {first.layer}: "
                f"{first.between('the integer reference', self.last_stage)}"
            )
        if self.max_drop is not None and self.drop is not None and self.drop > self.max_drop + TOLERANCE:
            found.append(
                f"accuracy falls by {self.drop:.2f} points from float to integers, more than --max-drop "
                f"{self.max_drop:g}"
            )
        return found

    @property
    def warnings(self) -> list[str]:
        """What a layer did on these recordings that hardly anyone wants."""
        found = []
        for index, (layer, figures) in enumerate(zip(self.program.layers, self.chain.layers, strict=True)):
            # The map of a pooled convolution is named itself; of the float network only the pooled spikes are known.
            silent = [stage for stage, rate in figures.rates.items() if not rate]
            silent = [stage for stage in silent if stage == FLOAT or not layer.is_pooling]
            by_voltage = self.program.prediction == "voltage" and layer is self.program.layers[-1]
            if silent and not by_voltage:  # neurons that decide by their voltage are not meant to spike
                found.append(
                    f"layer {index} never spikes on these recordings ({', '.join(silent)}): what follows sees nothing; "
                    f"lower its threshold (vth, or wrp), train longer, or try other recordings"
                )
            for name, needed in figures.needed.items():
                if needed >= STATE_LIMIT + (name == "u"):  # u may be 2**23, v and r may not
                    happens = "wraps" if name == "u" else "saturates"
                    found.append(
                        f"layer {index}: {name} {happens}: it needs {needed / STATE_LIMIT:.2f} times what 24 bits hold "
                        f"on these recordings; compile with calibration data like these, or use smaller weights"
                    )
        return found

    def compiled_ranges(self, index: int) -> dict[str, dict[str, Any]]:
        """What `compile` proved or measured of each register of a layer; empty where it said nothing."""
        if index >= len(self.program.quantization):
            return {}
        figures: dict[str, Any] = dict(self.program.quantization[index])
        return {entry["register"]: entry for entry in figures.get("ranges", [])}

    def to_json(self) -> dict[str, Any]:
        """Every figure; shares of 1, accuracies with their 95 % Wilson interval, null where nothing is defined."""
        comparison = self.chain.comparison
        return {
            "network": self.program.name,
            "artifact": str(self.artifact),
            "against": None if self.against is None else str(self.against),
            "run": None if self.run is None else str(self.run),
            "recordings": len(self.chain.labels),
            "passed": not self.failures,
            "failures": self.failures,
            "warnings": self.warnings,
            "max_drop": self.max_drop,
            "drop": self.drop,
            "stages": self._stages_to_json(),
            "layers": [self._layer_to_json(index) for index in range(len(self.program.layers))],
            "comparison": None if comparison is None else {
                "stage": self.last_stage,
                "compared": comparison.compared,
                "mismatches": comparison.mismatches,
                "per_quantity": _counts_to_json(comparison.per_quantity),
                "per_layer": [_counts_to_json(counts) for counts in comparison.per_layer],
                "first": None if comparison.first is None else asdict(comparison.first) | {
                    "name": self.names[comparison.first.recording]
                },
            },
        }  # fmt: skip

    def _stages_to_json(self) -> list[dict[str, Any]]:
        stages, before = [], None
        for name, decisions in self.chain.decisions.items():
            hits, count = self.chain.hits(name), len(decisions)
            stages.append(
                {
                    "stage": name,
                    "hits": hits,
                    "accuracy": hits / count,
                    "accuracy_interval_95": list(wilson_interval(hits, count)),
                    "decisions_changed": None if before is None else int((before != decisions).sum()),
                }
            )
            before = decisions
        return stages

    def _layer_to_json(self, index: int) -> dict[str, Any]:
        layer, figures = self.program.layers[index], self.chain.layers[index]
        return {
            "layer": index,
            "kind": layer.kind,
            "neurons": layer.num_neurons,
            "firing_rates": figures.rates,
            "agreement": [
                {"left": left, "right": right} | pair.to_json() for (left, right), pair in figures.agreement.items()
            ],
            "potential_correlation": figures.potential.value,
            "registers": {
                name: {
                    "peak": figures.peak[name],
                    "needed": needed,
                    "limit": STATE_LIMIT,
                    "margin": STATE_LIMIT / needed if needed else None,
                    "compiled": self.compiled_ranges(index).get(name),
                }
                for name, needed in figures.needed.items()
            },
        }


def _counts_to_json(counts: Counts) -> dict[str, dict[str, int]]:
    return {name: {"compared": compared, "mismatches": wrong} for name, (compared, wrong) in counts.items()}


def verify_artifact(
    artifact: Path | None,
    samples: int,
    dataset: str | None,
    console: Console,
    *,
    runs: Path = Path("runs"),
    run_folder: Path | None = None,
    backend: Backend = "lava",
    against: Path | None = None,
    max_drop: float | None = None,
) -> Verification:
    """Run recordings through the chain; the caller decides what the verdict means.

    Args:
        artifact: default: the newest .net file here.
        samples: test recordings, evenly spread.
        dataset: a folder of recordings, instead of the model's own test set.
        runs: where the training run of the float stage is looked for, by the hash of its checkpoint.
        run_folder: the training run; it must be the one that was compiled.
        backend: what is compared with the reference; `reference`: nothing, or itself on `against`.
        against: another artifact of the same shape for the last stage, to find where the two part.
        max_drop: percentage points of accuracy that may be lost from float to integers.

    Raises: `UsageError` where files do not belong together, or `max_drop` is asked for and there is no float network.
    """
    path = artifact or newest_artifact(Path())
    program = load_artifact(path)
    other = program
    if against is not None:
        other = load_artifact(against)
        require_same_shape(program, path, other, against)
    run = find_run(program, path, runs, run_folder)
    if has_output_layer(program):
        run = None
    if run is None and max_drop is not None:
        raise UsageError(
            f"--max-drop {max_drop:g}: the training run that {path} was compiled from is not below {runs}, so there is "
            f"no float accuracy to compare with; name it with --run, or its folder of runs with --runs"
        )
    run_other, last_stage = _last_stage(other, backend, against)
    network = None if run is None else _network(run, program)
    with counting(console, "reading recordings") as progress:
        stream = stream_test_recordings(program, samples, dataset, progress)
    with counting(console, f"running {len(stream)} recordings through {program.name} at every stage") as progress:
        chains: list[Chain] = []
        for recordings in stream.batches(recordings_at_once(program, stream.steps)):
            done = sum(len(chain.labels) for chain in chains)
            labels = stream.labels[done : done + len(recordings)]
            given = as_given(program, recordings)
            chains.append(run_chain(network, program, given, labels, run_other, last_stage or LAVA))
            progress(done + len(labels), len(stream))
    return Verification(
        program, path, against, None if run is None else run.folder, runs, last_stage, max_drop, stream.names,
        reduce(Chain.followed_by, chains),
    )  # fmt: skip


def verify_random(count: int, seed: int, console: Console) -> list[tuple[Program, Comparison]]:
    """`decolle-hw verify --random`: Lava against the reference on random networks, extremes included."""
    run_lava = lava_runner()
    results = []
    with counting(console, "random networks in Lava") as progress:
        for index, program in enumerate(itertools.islice(random_networks(seed), count)):
            spikes_RTI = random_spikes(np.random.default_rng([seed, index, 1]), program)
            lava = run_lava(program, spikes_RTI, record=True)
            results.append((program, compare(program, run_reference(program, spikes_RTI, record=True), lava)))
            progress(index + 1, count)
    return results


def random_to_json(results: list[tuple[Program, Comparison]]) -> dict[str, Any]:
    """What `verify_random` found, ready for `json.dumps`."""
    return {
        "networks": [
            {
                "name": program.name,
                "neuron": program.layers[0].neuron,
                "layers": [shape_of(layer) for layer in program.layers],
                "compared": comparison.compared,
                "mismatches": comparison.mismatches,
                "first": None if comparison.first is None else asdict(comparison.first),
            }
            for program, comparison in results
        ]
    }


def require_same_shape(program: Program, path: Path, other: Program, other_path: Path) -> None:
    """Raise `UsageError` that names the first thing in which two artifacts cannot be compared step by step."""
    for name in ("input_shape", "classes", "steps", "burnin_steps", "prediction", "input_block"):
        _require_equal(name, getattr(program, name), path, getattr(other, name), other_path)
    _require_equal("number of layers", len(program.layers), path, len(other.layers), other_path)
    for index, (mine, theirs) in enumerate(zip(program.layers, other.layers, strict=True)):
        _require_equal(f"layer {index}", _described(mine), path, _described(theirs), other_path)


def _require_equal(what: str, mine: object, path: Path, theirs: object, other_path: Path) -> None:
    if mine != theirs:
        raise UsageError(
            f"--against {other_path}: {what} is {theirs}, in {path} {mine}; only artifacts of the same shape can be "
            f"compared"
        )


def _described(layer: Layer) -> str:
    return f"{layer.kind} of {shape_of(layer)} {layer.neuron} neurons, {len(layer.readout_bias)} classes read out"


def shape_of(layer: Layer) -> str:
    """`32x16x16` (channels, height, width) or the number of neurons."""
    return "x".join(map(str, layer.map_shape))


def _last_stage(program: Program, backend: Backend, against: Path | None) -> tuple[RunOther | None, str | None]:
    if backend == "reference" and against is None:
        return None, None
    beside = "" if against is None else f" on {against.name}"
    if backend == "reference":
        return lambda spikes_RTI: run_reference(program, spikes_RTI, record=True), f"the reference{beside}"
    run_lava = lava_runner()
    return lambda spikes_RTI: run_lava(program, spikes_RTI, record=True), f"{LAVA}{beside}"


def _network(run: Run, program: Program) -> DecolleNetwork:
    network = run.network()
    stages_of(network, program)  # fail now
    return network
