"""Damage artifacts in every way we could think of; each must load as it was, or fail with our own error.

    python sim_tests/fuzz_artifacts.py --count 2000 --seed 0

Prints what became of them by kind of damage. Exit code 1, with the mutant kept and named, if one raised anything but
`ArtifactError`, loaded as another network, took longer than `SECONDS`, or needed more than `MEGABYTES` beyond what
the process had before (an address-space limit, so that asking for it is already an error).
"""

from __future__ import annotations

import argparse
import dataclasses
import resource
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import h5py
import numpy as np
from learning_tools import small_learning

from decolle_hw.compiler.artifact import GROUP, load_artifact, load_learning, save_artifact
from decolle_hw.compiler.learning_program import LearningProgram
from decolle_hw.compiler.program import Program
from decolle_hw.errors import ArtifactError
from decolle_hw.sim.random_program import random_conv_program, random_program

SECONDS = 5.0
MEGABYTES = 1024

Rng = np.random.Generator
Mutate = Callable[[Path, Rng], None]


Original = tuple[Program, LearningProgram | None]


def originals() -> list[Original]:
    """Dense as netx runs it, dense with delays, convolutional with pooling; a layer that learns."""
    rng = np.random.default_rng(1)
    conv = random_conv_program(rng, "cuba", like_quantizer=True, input_shape=(2, 6, 6), units=5)
    while not any(layer.is_pooling for layer in conv.layers):
        conv = random_conv_program(rng, "cuba", like_quantizer=True, input_shape=(2, 6, 6), units=5)
    learning = small_learning(rng)
    return [
        (random_program(rng, "cuba", sizes=(12, 9, 7), like_quantizer=True), None),
        (random_program(rng, "decolle", sizes=(12, 9, 7), max_delay=5), None),
        (conv, None),
        (learning.program, learning),
    ]


def truncated(path: Path, rng: Rng) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: int(rng.integers(0, len(whole)))])


def flipped(path: Path, rng: Rng) -> None:
    content = bytearray(path.read_bytes())
    for place in rng.integers(0, len(content), rng.integers(1, 9)):
        content[place] ^= 1 << int(rng.integers(0, 8))
    path.write_bytes(content)


def overwritten(path: Path, rng: Rng) -> None:
    content = bytearray(path.read_bytes())
    start, length = int(rng.integers(0, len(content))), int(rng.integers(1, 200))
    filler = rng.integers(0, 256, length).astype(np.uint8).tobytes()
    content[start : start + length] = [bytes(length), b"\xff" * length, filler][int(rng.integers(3))]
    path.write_bytes(content)


def shifted(path: Path, rng: Rng) -> None:
    content, place = path.read_bytes(), int(rng.integers(0, path.stat().st_size))
    extra = bytes(int(rng.integers(1, 20)))
    path.write_bytes(
        content[:place] + extra + content[place:] if rng.random() < 0.5 else content[:place] + content[place + 7 :]
    )


def some(file: h5py.File, rng: Rng, kind: type) -> str:
    found: list[str] = []
    file.visititems(lambda name, item: found.append(name) if isinstance(item, kind) else None)
    return str(rng.choice(found))


def missing(path: Path, rng: Rng) -> None:
    with h5py.File(path, "r+") as file:
        del file[some(file, rng, h5py.Dataset if rng.random() < 0.6 else h5py.Group)]


def added(path: Path, rng: Rng) -> None:
    with h5py.File(path, "r+") as file:
        group = file[some(file, rng, h5py.Group)]
        name = str(rng.choice(["extra", "0", "99", "weight", "neuron", "type", "."]))
        if name in group:
            return
        what = int(rng.integers(6))
        if what == 0:
            group.create_group(name)
        elif what == 1:
            group[name] = np.arange(5)
        elif what == 2:
            group[name] = h5py.SoftLink(str(rng.choice(["/nowhere", "/", f"/{GROUP}", group.name])))
        elif what == 3:
            group[name] = h5py.ExternalLink("nowhere.h5", "/")
        elif what == 4:
            group[name] = h5py.Empty("f")
        else:
            group.attrs["extra"] = np.arange(3)


ODD_TYPES: list[Any] = [
    np.float64, np.int64, np.int8, np.uint32, bool, np.complex64, "S3", h5py.string_dtype(), h5py.vlen_dtype(np.int32),
    h5py.ref_dtype, np.dtype([("a", "i4"), ("b", "f4")]), h5py.enum_dtype({"A": 0, "B": 1}), ">i4", np.float16,
]  # fmt: skip


def another_type(path: Path, rng: Rng) -> None:
    with h5py.File(path, "r+") as file:
        name = some(file, rng, h5py.Dataset)
        shape = file[name].shape
        del file[name]
        file.create_dataset(name, shape=shape, dtype=ODD_TYPES[int(rng.integers(len(ODD_TYPES)))])


ABSURD_SHAPES: list[tuple[int, ...]] = [
    (2**40,), (10**9, 10**9), (0,), (), (1,) * 32, (2**31,), (2**33, 1), (1, 2**20, 2**20), (3, 0, 5), (12345,),
    (40000, 40000),
]  # fmt: skip


def absurd_shape(path: Path, rng: Rng) -> None:
    """Declared and never written: HDF5 would make up zeros on reading."""
    with h5py.File(path, "r+") as file:
        name, shape = some(file, rng, h5py.Dataset), ABSURD_SHAPES[int(rng.integers(len(ABSURD_SHAPES)))]
        dtype = file[name].dtype
        del file[name]
        chunks = tuple(min(size, 64 if len(shape) < 3 else 1) for size in shape) if shape and min(shape) > 0 else None
        file.create_dataset(name, shape=shape, dtype=dtype, chunks=chunks, compression="gzip" if chunks else None)


def bomb(path: Path, rng: Rng) -> None:
    """Many zeros, well compressed and really there."""
    with h5py.File(path, "r+") as file:
        name = some(file, rng, h5py.Dataset)
        del file[name]
        file.create_dataset(name, data=np.zeros((1500, 1500), np.int32), compression="gzip", chunks=(1500, 1500))


ODD_VALUES: list[Any] = [
    -1, 2**62, 10**9, 1.5, float("nan"), np.bytes_("x"), "text", np.zeros(3), np.zeros((2, 2), np.int32), True,
    np.bytes_(b"\xff\xfe"), h5py.Empty("i4"), np.uint64(2**63), np.arange(100), np.bytes_(b"null"),
    np.bytes_(b"[" * 9000), np.bytes_(b'{"classes": 3}'), np.float32(3),
]  # fmt: skip


def attribute(path: Path, rng: Rng) -> None:
    with h5py.File(path, "r+") as file:
        found: list[tuple[str, str]] = [(GROUP, name) for name in file[GROUP].attrs]
        file[GROUP].visititems(lambda name, item: found.extend((f"{GROUP}/{name}", key) for key in item.attrs))
        place, name = found[int(rng.integers(len(found)))]
        choice = int(rng.integers(len(ODD_VALUES) + 3))
        if choice >= len(ODD_VALUES):
            del file[place].attrs[name]
        else:
            file[place].attrs[name] = ODD_VALUES[choice]


def group_for_dataset(path: Path, rng: Rng) -> None:
    with h5py.File(path, "r+") as file:
        kinds = (h5py.Dataset, h5py.Group) if rng.random() < 0.5 else (h5py.Group, h5py.Dataset)
        name = some(file, rng, kinds[0])
        del file[name]
        if kinds[1] is h5py.Group:
            file.create_group(name)
        else:
            file[name] = 1


def another_value(path: Path, rng: Rng) -> None:
    with h5py.File(path, "r+") as file:
        for _ in range(50):
            data = file[some(file, rng, h5py.Dataset)]
            if data.dtype.kind in "iu" and data.size:
                values = np.array(data)
                values.flat[int(rng.integers(values.size))] ^= 1 << int(rng.integers(31))
                data[...] = values
                return


MUTATIONS: tuple[Mutate, ...] = (
    truncated, flipped, overwritten, shifted, missing, added, another_type, absurd_shape, bomb, attribute,
    group_for_dataset, another_value,
)  # fmt: skip


def same(one: Program, other: Program) -> bool:
    for field in dataclasses.fields(Program):
        if field.name != "layers" and getattr(one, field.name) != getattr(other, field.name):
            return False
    if len(one.layers) != len(other.layers):
        return False
    return all(
        type(mine) is type(theirs)
        and all(np.array_equal(getattr(mine, f.name), getattr(theirs, f.name)) for f in dataclasses.fields(mine))
        for mine, theirs in zip(one.layers, other.layers, strict=True)
    )


def outcome(path: Path, original: Original) -> str:
    """'loaded', 'refused', or what must not happen."""
    program, learning = original
    try:
        if learning is not None:
            found = load_learning(path)
            return "loaded" if found.digest() == learning.digest() else "LOADED AS ANOTHER THAT LEARNS"
        return "loaded" if same(load_artifact(path), program) else "LOADED AS ANOTHER NETWORK"
    except ArtifactError as error:
        text = str(error)
        return "refused" if text.startswith(f"{path}: ") and "\n" not in text else f"UNCLEAR: {text!r}"
    except BaseException as error:  # whatever it is, it is reported
        return f"{type(error).__name__}: {error}"


def timed_out(number: int, frame: FrameType | None) -> None:
    raise TimeoutError(f"longer than {SECONDS} s")


def fuzz(count: int, seed: int, folder: Path) -> tuple[Counter[tuple[str, str]], list[str]]:
    """(how many by damage and outcome, the failures in words)."""
    programs = originals()
    for index, (program, learning) in enumerate(programs):
        save_artifact(program, folder / f"original{index}.net", learning)
    used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEGABYTES * 2**20, resource.RLIM_INFINITY))
    signal.signal(signal.SIGALRM, timed_out)
    counts: Counter[tuple[str, str]] = Counter()
    failures = []
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        which, mutate = int(rng.integers(len(programs))), MUTATIONS[number % len(MUTATIONS)]
        path = folder / f"mutant{number}.net"
        shutil.copy(folder / f"original{which}.net", path)
        mutate(path, rng)
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        found = outcome(path, programs[which])
        signal.setitimer(signal.ITIMER_REAL, 0)
        kind = found if found in ("loaded", "refused") else "FAILED"
        counts[mutate.__name__, kind] += 1
        if kind == "FAILED":
            failures.append(f"{path} ({mutate.__name__}): {found}")
        else:
            path.unlink()
    return counts, failures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="fuzz-artifacts-"))
    counts, failures = fuzz(options.count, options.seed, folder)
    for mutation in MUTATIONS:
        name = mutation.__name__
        print(f"{name:20s} refused {counts[name, 'refused']:4d}, loaded as it was {counts[name, 'loaded']:4d}")
    print(f"{sum(counts.values())} mutants, {len(failures)} failures")
    for failure in failures:
        print(failure)
    if not failures:
        shutil.rmtree(folder)
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
