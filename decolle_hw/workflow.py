"""What each command does: find the newest result of the one before, call the library, return what was found."""

# R recordings, T steps, I inputs

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console

from decolle_hw import data
from decolle_hw.compiler.artifact import load_artifact, newest_artifact
from decolle_hw.compiler.program import Program, input_kind
from decolle_hw.data.source import evenly_spread
from decolle_hw.described import read_model
from decolle_hw.errors import UsageError
from decolle_hw.execution import Backend, Executed, execute, lava_runner
from decolle_hw.progress import TrainingProgress, counting, working
from decolle_hw.sim.compare import Comparison, compare
from decolle_hw.sim.reference import run_reference
from decolle_hw.sim.trace import Trace
from decolle_hw.spec import DatasetSpec, ModelSpec, load_model_spec, model_spec_from_yaml
from decolle_hw.spec_on_chip import OUTPUT
from decolle_hw.training.lock import is_locked
from decolle_hw.training.run_files import CHECKPOINT, LENGTH_KEYS, SPEC, Weights

# What imports torch is imported where it is used: integers alone run without, and start two seconds earlier.
if TYPE_CHECKING:
    from decolle_hw.training.evaluation import Evaluated, Split
    from decolle_hw.training.runs import Run

NAMED_RUNS = 5  # in a message
LAVA_RECORDINGS = 100  # Lava does some hundred steps per second: by default a part of the test set
LAVA_CONVOLUTIONS = 400_000  # single 2-D convolutions; Lava does some ten thousand per second


def train_model(spec: ModelSpec, runs: Path, device: str, console: Console) -> Run:
    """`decolle-hw train`."""
    from decolle_hw.training.train import choose_device, train

    chosen = choose_device(device)
    with TrainingProgress(console, spec.training.num_epochs) as watcher:
        return train(spec, runs, chosen, watcher)


def resume_training(
    run_folder: Path | None, model: str | None, overrides: tuple[str, ...], dataset: str | None, runs: Path,
    device: str, console: Console,
) -> Run:  # fmt: skip
    """`decolle-hw train [MODEL] --resume [RUN]`: the newest unfinished run below `runs` unless a run folder is given.

    With a model, its description is compared with the run's, so that the command a run began with can be repeated; how
    long to train is then taken from the run, unless `overrides` say it.
    """
    from decolle_hw.training.resume import require_state_of_run
    from decolle_hw.training.runs import newest_unfinished_run
    from decolle_hw.training.train import choose_device, resume

    chosen = choose_device(device)
    if run_folder is None:
        name = None if model is None else read_model(model, overrides, dataset).name
        folder = newest_unfinished_run(runs, name, is_locked)
    else:
        folder = run_folder
        require_run(folder, runs)
    require_state_of_run(folder)
    spec = read_model(model or str(folder / SPEC), overrides, dataset, console)
    if model is not None:
        spec = _as_long_as(load_model_spec(str(folder / SPEC)), spec, overrides)
    console.print(f"continuing {folder}", soft_wrap=True)
    with TrainingProgress(console, spec.training.num_epochs) as watcher:
        return resume(folder, spec, chosen, watcher)


def _as_long_as(of_run: ModelSpec, spec: ModelSpec, overrides: tuple[str, ...]) -> ModelSpec:
    """`spec` with num_epochs and early_stop of a run, but for those that were given."""
    given = {override.partition("=")[0] for override in overrides}
    length = {
        key.removeprefix("training."): getattr(of_run.training, key.removeprefix("training."))
        for key in LENGTH_KEYS - given
    }
    return spec.model_copy(update={"training": spec.training.model_copy(update=length)})


def require_run(folder: Path, runs: Path) -> None:
    """Raise `UsageError` that lists the newest runs where there is no such folder."""
    if folder.is_dir():
        return
    what = "is a file" if folder.exists() else "does not exist"
    known = sorted((path.parent for path in runs.glob(f"*/*/{SPEC}")), key=lambda path: path.name)[-NAMED_RUNS:]
    names = ", ".join(str(path) for path in known)
    there = f"the newest runs are {names}" if names else f"{runs} holds no run"
    raise UsageError(f"{folder}: {what}, so it is not a training run; {there}")


def has_output_layer(program: Program) -> bool:
    """Whether its last layers were made on chip (`compile --plastic output`): no float network stands behind them."""
    if not program.spec_yaml:
        return False
    return OUTPUT in model_spec_from_yaml(program.spec_yaml, f"description inside {program.name}.net").on_chip.plastic


def find_run(program: Program, path: Path, runs: Path, folder: Path | None) -> Run | None:
    """The training run whose checkpoint a program was compiled from; None: it is not below `runs`.

    Raises `UsageError` where `folder` is given and is another run.
    """
    from decolle_hw.training.runs import load_run

    if folder is not None:
        require_run(folder, runs)
        run = load_run(folder)
        if run.checkpoint_sha256() != program.checkpoint_sha256:
            raise UsageError(
                f"--run {folder}: {path} was compiled from another checkpoint (SHA-256 "
                f"{program.checkpoint_sha256[:12]}, found {run.checkpoint_sha256()[:12]}); name its own run, or "
                f"compile this one"
            )
        return run
    for checkpoint in sorted(runs.glob(f"*/*/{CHECKPOINT}"), reverse=True):
        if hashlib.sha256(checkpoint.read_bytes()).hexdigest() == program.checkpoint_sha256:
            return load_run(checkpoint.parent)
    return None


def evaluate_model(
    run_folder: Path | None, runs: Path, dataset: str | None, split: Split | None, weights: Weights, device: str,
    console: Console,
) -> Evaluated:  # fmt: skip
    """`decolle-hw evaluate`: the newest finished run below `runs` unless a run folder is given."""
    from decolle_hw.training.evaluation import evaluate_run, recordings_of
    from decolle_hw.training.runs import load_run, newest_run
    from decolle_hw.training.train import choose_device

    chosen = choose_device(device)
    if run_folder is not None:
        require_run(run_folder, runs)
    run = load_run(run_folder or newest_run(runs))
    with counting(console, "reading recordings") as progress:
        recordings = recordings_of(run, dataset, split, progress)
    with working(console, f"evaluating {run.folder}"):
        return evaluate_run(run, recordings, weights, chosen)


def recordings_for_lava(program: Program) -> int:
    """How many recordings Lava runs in about a minute: 100, or at least 2 of a network that convolves a lot.

    Lava's `Conv` loops over pairs of channels in Python, so its time goes with their number.
    """
    pairs = sum(layer.weight.shape[0] * layer.weight.shape[1] for layer in program.layers if layer.weight.ndim == 4)
    if not pairs:
        return LAVA_RECORDINGS
    return max(2, min(LAVA_RECORDINGS, LAVA_CONVOLUTIONS // (pairs * program.slot_steps())))


def run_artifact(
    artifact: Path | None,
    backend: Backend,
    samples: int | None,
    dataset: str | None,
    console: Console,
    *,
    batch: int | None = None,
    jobs: int | None = None,
) -> Executed:
    """`decolle-hw run --sim`: the newest .net file here unless one is given.

    A Lava run is compared spike by spike with the reference as it goes; the caller decides what a difference means.
    """
    if jobs is not None and backend == "reference":
        raise UsageError(f"--jobs {jobs}: is for --backend lava; the reference runs in one process, leave --jobs out")
    program = load_artifact(artifact or newest_artifact(Path()))
    if backend == "lava":
        lava_runner()  # fail now where Lava cannot be imported
        samples = samples or recordings_for_lava(program)
    with counting(console, "reading recordings") as progress:
        stream = stream_test_recordings(program, samples, dataset, progress)
    where = "Lava" if backend == "lava" else "the integer reference"
    with counting(console, f"running {program.name} in {where}") as progress:
        return execute(program, stream, backend, batch=batch, jobs=jobs or 1, progress=progress)


def export_artifact(artifact: Path | None, output: Path | None, dt: float | None) -> tuple[list[Path], tuple[str, ...]]:
    """`decolle-hw export --format nir`: the files written, and what their reader should know."""
    from decolle_hw.interchange.nir_export import export_nir
    from decolle_hw.interchange.nir_import import DEFAULT_DT

    path = artifact or newest_artifact(Path())
    output = output or Path(f"{path.stem}.nir")
    if output.suffix != ".nir":
        raise UsageError(f"--output {output}: the name must end in .nir, or `compile` would not know what it is")
    exported = export_nir(load_artifact(path), output, dt=dt or DEFAULT_DT)
    return [exported.graph, exported.sidecar], exported.notes


def run_both(
    program: Program, recordings: data.BinnedRecordings, *, record: bool, console: Console
) -> tuple[Trace, Comparison]:
    """Recordings in Lava and in the reference; the Lava trace and the comparison of the two."""
    from decolle_hw.fidelity.summary import to_batch_first

    run_lava = lava_runner()
    spikes_RTI = to_batch_first(recordings.dense(np.arange(len(recordings))))
    with counting(console, f"running {program.name} in Lava") as progress:
        lava = run_lava(program, spikes_RTI, record=record, progress=progress)
    return lava, compare(program, run_reference(program, spikes_RTI, record=record), lava)


def load_test_recordings(program: Program, dataset: str | None) -> data.BinnedRecordings:
    """The test recordings of the model a program was trained from, or those of a folder."""
    spec = dataset_of(program, dataset)
    if dataset is not None:
        return data.load_folder(dataset, spec, program.classes)
    return data.load_split(spec, "test", classes=program.classes)


AnyStream = data.RecordingStream | data.StillImages | data.SpikeArrays


def stream_test_recordings(
    program: Program, samples: int | None, dataset: str | None, progress: data.Progress | None = None
) -> AnyStream:
    """Test recordings batch by batch, as `load_test_recordings` finds them; `samples`: at most so many, evenly spread.

    A network from elsewhere takes images (`decolle_hw.data.pixels`) where it has an input block, else a folder of
    events or an .npz of spikes (`decolle_hw.data.spike_arrays`).
    """
    if dataset is not None:
        given = (dataset, program.input_shape, program.classes, program.steps, samples)
        if input_kind(program) == "image":
            return data.stream_images(*given)
        if Path(dataset).suffix == ".npz" and not Path(dataset).is_dir():
            return data.stream_spikes(*given)
    spec = dataset_of(program, dataset)
    if dataset is not None:
        return data.stream_folder(dataset, spec, samples, program.classes, progress)
    return data.stream_split(spec, "test", samples, program.classes, progress)


def dataset_of(program: Program, dataset: str | None) -> DatasetSpec:
    """What its recordings are: those that it was trained from, or, of a network from elsewhere, a folder's."""
    if program.spec_yaml:
        model = model_spec_from_yaml(program.spec_yaml, f"description inside {program.name}.net")
        if model.dataset.classes is None and model.on_chip.classes is None:
            return model.dataset
        # A new output layer may know others than the network was trained on.
        return model.dataset.model_copy(update={"classes": list(program.classes)})
    if dataset is None:
        what = "images" if input_kind(program) == "image" else "some"
        raise UsageError(f"{program.name}: comes from elsewhere, without recordings; give {what} with --data")
    if program.input_shape[0] > 2 or program.input_shape[:2] == (1, 1):
        raise UsageError(
            f"--data {dataset}: {program.name} takes {'x'.join(map(str, program.input_shape))} inputs, but events of a "
            f"camera have one or two polarities, rows and columns; give --data FILE.npz with spikes (recordings, "
            f"steps, {program.num_inputs}) and labels"
        )
    return DatasetSpec(
        name="folder", path=dataset, input_shape=list(program.input_shape), chunk_size_test=program.steps
    )


def spread(recordings: data.BinnedRecordings, count: int) -> data.BinnedRecordings:
    """`count` recordings, evenly spread over all; all of them where there are no more."""
    which = evenly_spread(len(recordings), count)
    return recordings if which is None else recordings.take(which)


def require_simulator(sim: bool, hw: bool) -> None:
    """`run` needs to be told where: `--sim`, or `--hw` with Intel's extension."""
    if sim and hw:
        raise UsageError("--sim and --hw exclude each other; give one")
    if hw:
        import importlib.util

        missing = importlib.util.find_spec("lava.lib.loihi") if importlib.util.find_spec("lava") else None
        if missing is None:
            raise UsageError("--hw: Intel's closed Lava extension for Loihi (lava-loihi) is not installed; use --sim")
        raise UsageError("--hw: running on silicon is not part of this version; use --sim")
    if not sim:
        raise UsageError("say where to run: --sim runs in the Lava CPU simulator")
