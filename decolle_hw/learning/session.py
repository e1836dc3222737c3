"""A session of learning: labelled recordings, shown one after another, and what the network can do before and after.

The order is that of a schedule without end: pass number p shows all recordings in a random order of its own, which
depends on the seed and on p alone. A saved state knows how many recordings there were, so a session that goes on from
it goes on in the schedule: two halves are the whole.
"""

# R recordings, K recordings shown, N neurons, I inputs

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from decolle_hw.compiler.artifact import load_learning, newest_artifact
from decolle_hw.compiler.learning_program import LearningProgram
from decolle_hw.compiler.plasticity import LEARNED_WEIGHT_MAX, LEARNED_WEIGHT_MIN
from decolle_hw.data import BinnedRecordings
from decolle_hw.errors import UsageError
from decolle_hw.execution import lava_runner
from decolle_hw.fidelity.summary import to_batch_first
from decolle_hw.learning.checkpoint import save_as_run
from decolle_hw.learning.frames import Frames, pieces
from decolle_hw.learning.request import DEFAULT_SEED, LearnRequest
from decolle_hw.learning.result import Accuracy, LayerChange, Session
from decolle_hw.learning.shown import Recordings, recordings_to_learn
from decolle_hw.learning.write import save_learned
from decolle_hw.progress import Report, counting, working
from decolle_hw.sim.compare_learning import LearningComparison, compare_learning
from decolle_hw.sim.learned import classify
from decolle_hw.sim.learning import learn
from decolle_hw.sim.learning_state import LearningState, load_state, save_state, start_state
from decolle_hw.training.runs import Run
from decolle_hw.workflow import find_run

LAVA_SHOWN = 20  # by default: Lava learns some recordings per second
MOST_SHOWN = 1_000_000  # in one session, of which each is reported; another one can go on from its state
# Both sides keep every weight after every epoch.
DEFAULT_RECORD_BYTES, MOST_RECORD_BYTES = 300_000_000, 4_000_000_000


@dataclass(frozen=True)
class _Taught:
    """What came of showing recordings."""

    decisions: NDArray[np.int64]  # (K,)
    updates: dict[int, int]  # by plastic layer: weights that an update changed, over all updates
    state: LearningState
    comparison: LearningComparison | None = None


def learn_on_chip(request: LearnRequest, console: Console) -> Session:
    """`decolle-hw run --sim --learn`. What Lava does is compared with the reference; the caller decides what it means.

    Raises `UsageError` or one of its kind for everything that cannot be used, before any long work.
    """
    path = request.artifact or newest_artifact(Path())
    learning = load_learning(path)
    request.check(path)
    state = _state(request, learning)
    run = None if request.save_checkpoint is None else _run_of(learning, path, request)
    if request.backend == "lava":
        lava_runner()  # fail now where Lava cannot be imported
    samples = request.samples
    if samples is None and request.backend == "lava":
        samples = recordings_for_lava(learning, request.passes)
    with counting(console, "reading recordings") as progress:
        recordings = recordings_to_learn(learning.program, request.dataset, request.labels, samples, progress)
    if len(recordings.shown) * request.passes > MOST_SHOWN:
        raise UsageError(
            f"--passes {request.passes}: {len(recordings.shown)} recordings are "
            f"{len(recordings.shown) * request.passes:,} presentations, at most {MOST_SHOWN:,} in a session; show "
            f"fewer, and go on with --save-state and --load-state"
        )
    if request.backend == "lava":
        require_memory(learning, len(recordings.shown) * request.passes)
    order_K = schedule(int(state.seeds[0]), len(recordings.shown), state.presented, request.passes)
    before = _test(learning, state, recordings, "before learning", console)
    began = time.perf_counter()
    taught = _teach(request, learning, state, recordings.shown, order_K, console)
    seconds = time.perf_counter() - began
    after = _test(learning, taught.state, recordings, "after learning", console)
    session = Session(
        learning, path, request.backend, state.rounding, int(state.seeds[0]), request.passes, state.presented,
        tuple(recordings.shown.names[index] for index in order_K), recordings.shown.labels[order_K], taught.decisions,
        before, after, recordings.note, tuple(_changes(learning, state, taught)), taught.comparison, seconds,
    )  # fmt: skip
    if taught.comparison is not None and not taught.comparison.equal:
        return session  # nothing of it can be trusted, so nothing is saved
    return _saved(session, request, taught.state, recordings, run, console)


def schedule(seed: int, recordings: int, presented: int, passes: int) -> NDArray[np.int64]:
    """(K,) which recordings come next after the first `presented`, in so many passes."""
    numbers = range(presented // recordings, -(-(presented + passes * recordings) // recordings))
    orders = [np.random.default_rng([seed, number]).permutation(recordings) for number in numbers]
    start = presented % recordings
    order_K: NDArray[np.int64] = np.concatenate(orders)[start : start + passes * recordings].astype(np.int64)
    return order_K


def recordings_for_lava(learning: LearningProgram, passes: int) -> int:
    """How many recordings Lava learns by default: 20 presentations, or fewer where there is much to compare."""
    affordable = DEFAULT_RECORD_BYTES // bytes_per_recording(learning)
    return max(1, min(LAVA_SHOWN, affordable) // passes)


def bytes_per_recording(learning: LearningProgram) -> int:
    """Memory of everything that is compared."""
    total = 0
    for index in range(learning.first, len(learning.program.layers)):
        layer, plastic = learning.program.layers[index], learning.plasticity(index)
        total += learning.slot * layer.num_neurons * 13  # a spike and three registers
        if plastic is not None:
            total += -(-learning.slot // plastic.epoch) * 2 * (layer.num_neurons + 2) * (layer.num_inputs + 2)
    return 2 * total


def require_memory(learning: LearningProgram, shown: int) -> None:
    """Raise `UsageError` where so many recordings are too many to be compared weight by weight."""
    most = MOST_RECORD_BYTES // bytes_per_recording(learning)
    if shown > most:
        raise UsageError(
            f"--samples, --passes: {shown} recordings in Lava are compared with the reference weight by weight after "
            f"every epoch, which takes {shown * bytes_per_recording(learning) / 1e9:.1f} GB, and at most "
            f"{MOST_RECORD_BYTES / 1e9:.1f} are taken; show at most {most}, or use --backend reference"
        )


def _state(request: LearnRequest, learning: LearningProgram) -> LearningState:
    if request.load_state is None:
        seed = DEFAULT_SEED if request.seed is None else request.seed
        return start_state(learning, [seed], request.rounding or "lava")
    state = load_state(request.load_state, learning)
    if state.runs != 1:
        raise UsageError(f"--load-state {request.load_state}: is of {state.runs} runs, not of one")
    for option, given, found in (
        ("--seed", request.seed, int(state.seeds[0])), ("--rounding", request.rounding, state.rounding),
    ):  # fmt: skip
        if given is not None and given != found:
            raise UsageError(f"{option} {given}: the state in {request.load_state} has {found}; leave {option} out")
    return state


def _run_of(learning: LearningProgram, path: Path, request: LearnRequest) -> Run:
    run = find_run(learning.program, path, request.runs, None)
    if run is None:
        raise UsageError(
            f"--save-checkpoint {request.save_checkpoint}: the weights that {path} does not change on chip are those "
            f"of the training run that it was compiled from, which is not below {request.runs}; name its folder of "
            f"runs with --runs"
        )
    return run


def _test(
    learning: LearningProgram, state: LearningState, recordings: Recordings, when: str, console: Console
) -> Accuracy | None:
    """Nothing is learned; None where there is nothing to test on."""
    if recordings.tested is None:
        return None
    with working(console, f"testing on {len(recordings.tested)} recordings {when}"):
        return accuracy_on(learning, state, recordings.tested)


def accuracy_on(learning: LearningProgram, state: LearningState, tested: BinnedRecordings) -> Accuracy:
    """With the weights as they are, nothing is learned."""
    frames, decisions = Frames(learning, tested), [np.zeros(0, np.int64)]
    for which in pieces(len(tested)):
        given = frames.of(which)
        decisions.append(classify(learning, state, given, frames=given)[0])
    return Accuracy(tested.labels, np.concatenate(decisions))


def _teach(
    request: LearnRequest, learning: LearningProgram, state: LearningState, shown: BinnedRecordings,
    order_K: NDArray[np.int64], console: Console,
) -> _Taught:  # fmt: skip
    where = "Lava" if request.backend == "lava" else "the integer reference"
    with counting(console, f"learning {len(order_K)} recordings in {where}") as progress:
        if request.backend == "lava":
            return _teach_in_lava(learning, state, shown, order_K, progress)
        return _teach_in_reference(learning, state, shown, order_K, progress)


def _teach_in_reference(
    learning: LearningProgram, state: LearningState, shown: BinnedRecordings, order_K: NDArray[np.int64],
    progress: Report,
) -> _Taught:  # fmt: skip
    frames, decisions = Frames(learning, shown), [np.zeros(0, np.int64)]
    updates = {plastic.layer: 0 for plastic in learning.plastic}
    for which in pieces(len(order_K)):
        given, labels = frames.of(order_K[which]), shown.labels[order_K[which]]
        learned, state = learn(learning, state, given, np.arange(len(which))[None], labels[None], frames=given)
        decisions.append(learned.decisions[0])
        for layer, changed_B in learned.changed.items():
            updates[layer] += int(changed_B[0])
        progress(int(which[-1]) + 1, len(order_K))
    return _Taught(np.concatenate(decisions), updates, state)


def _teach_in_lava(
    learning: LearningProgram, state: LearningState, shown: BinnedRecordings, order_K: NDArray[np.int64],
    progress: Report,
) -> _Taught:  # fmt: skip
    from decolle_hw.lava_backend.learning_runner import learn_in_lava

    used, places_K = np.unique(order_K, return_inverse=True)
    spikes_RTI = to_batch_first(shown.dense(used))
    targets_K = shown.labels[order_K]
    lava, _ = learn_in_lava(
        learning, spikes_RTI, places_K, targets_K, seed=int(state.seeds[0]), record=True, progress=progress
    )
    learned, state = learn(learning, state, spikes_RTI, places_K[None], targets_K[None], record=True)
    comparison = compare_learning(learning, learned, lava)
    updates = {layer: int(changed_B[0]) for layer, changed_B in learned.changed.items()}
    return _Taught(lava.decisions[0], updates, state, comparison)


def _changes(learning: LearningProgram, before: LearningState, taught: _Taught) -> Iterator[LayerChange]:
    for plastic in learning.plastic:
        layer = plastic.layer
        then, now = (state.weights(learning, layer)[0] for state in (before, taught.state))
        at_limit = np.count_nonzero((now == LEARNED_WEIGHT_MIN) | (now == LEARNED_WEIGHT_MAX))
        yield LayerChange(
            layer, now.size, taught.updates[layer], int(np.count_nonzero(now != then)),
            float(np.sqrt(np.mean((now - then) ** 2.0))), int(at_limit),
        )  # fmt: skip


def _saved(
    session: Session, request: LearnRequest, state: LearningState, recordings: Recordings, run: Run | None,
    console: Console,
) -> Session:  # fmt: skip
    learning = session.learning
    if request.save_state is not None:
        save_state(request.save_state, state)
        session = session.with_file(request.save_state)
    if request.save_learned is not None:
        saved = save_learned(learning, state, request.save_learned)
        session = session.with_file(request.save_learned)
        if recordings.tested is not None:
            session = session.with_artifact(accuracy_on(saved, start_state(saved), recordings.tested))
    if request.save_checkpoint is not None:
        assert run is not None
        with working(console, "testing the float network with the learned weights"):
            new = save_as_run(request.save_checkpoint, learning, state, run, recordings)
        session = session.with_checkpoint(new)
    return session
