"""A model of the zoo: what its YAML says in a few words, and what was measured of it."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from decolle_hw.described import read_model
from decolle_hw.library import find_yaml, shipped_folder, shipped_names
from decolle_hw.spec import ModelSpec
from decolle_hw.zoo.measured import Measured, figures

NEEDS_DATA = {"folder": "FOLDER", "array": "FILE.npz", "dvs_gesture": "FOLDER"}  # what --data is given


@dataclass(frozen=True)
class Entry:
    """One model."""

    spec: ModelSpec
    file: Path
    measured: Measured | None  # None: not of the zoo

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def argument(self) -> str:
        """What commands call it."""
        return self.name if self.is_shipped else str(self.file)

    @property
    def is_shipped(self) -> bool:
        return self.file.parent == shipped_folder("models")

    @property
    def data(self) -> str:
        return self.spec.dataset.name

    @property
    def inputs(self) -> str:
        """`2x16x16`: polarities, height, width."""
        return "x".join(map(str, self.spec.dataset.input_shape))

    @property
    def steps(self) -> str:
        """`60 of 5 ms`"""
        dataset = self.spec.dataset
        return f"{dataset.chunk_size_test} of {dataset.deltat / 1000:g} ms"

    @property
    def network(self) -> str:
        """`conv 16-32-32 of 7x7, pool 2-1-2; dense 128`"""
        net, parts = self.spec.network, []
        if net.Nhid:
            kernels = dict.fromkeys(net.of_convolutions("kernel_size"))
            pools = net.of_convolutions("pool_size")
            part = f"conv {_joined(net.Nhid)} of {', '.join(f'{size}x{size}' for size in kernels)}"
            parts.append(part + (f", pool {_joined(pools)}" if max(pools) > 1 else ""))
        if net.Mhid:
            parts.append(f"dense {_joined(net.Mhid)}")
        return "; ".join(parts)

    @property
    def energy_uj(self) -> float | None:
        """Of one recording: that of a step, times the steps."""
        if self.measured is None or self.measured.energy is None:
            return None
        return self.measured.energy.nj_per_step * self.spec.dataset.chunk_size_test / 1000

    @property
    def next_commands(self) -> list[str]:
        """From here to a network in the simulator."""
        given = NEEDS_DATA.get(self.data)
        if self.spec.dataset.path is not None:  # the YAML says where
            given = None
        data = f" --data {given}" if given else ""
        return [f"decolle-hw train {self.argument}{data}", "decolle-hw compile --target loihi2", "decolle-hw run --sim"]

    def to_json(self) -> dict[str, Any]:
        of_figures = None if self.measured is None else {
            name: None if figure is None else {**figure.model_dump(), "source": _source(figure.source)}
            for name, figure in (
                ("accuracy", self.measured.accuracy), ("cores", self.measured.cores), ("energy", self.measured.energy)
            )
        }  # fmt: skip
        return {
            "file": str(self.file),
            "description": self.spec.description,
            "data": self.data,
            "network": self.network,
            "neuron": self.spec.network.neuron,
            "inputs": prod(self.spec.dataset.input_shape),
            "input_shape": self.spec.dataset.input_shape,
            "steps": self.spec.dataset.chunk_size_test,
            "step_us": self.spec.dataset.deltat,
            "measured": of_figures,
            "energy_uj_per_recording": self.energy_uj,
            "next": self.next_commands,
        }


def read_entries() -> list[Entry]:
    """All shipped models."""
    return [read_entry(name) for name in shipped_names("models")]


def read_entry(name: str) -> Entry:
    """A model by shipped name or path. Raises `SpecError` or `DataError` as reading it does."""
    file = find_yaml(name, "models", "model")
    spec = read_model(name)
    return Entry(spec, file, figures().models.get(spec.name) if name in shipped_names("models") else None)


def _source(name: str) -> dict[str, Any]:
    return figures().sources[name].model_dump()


def _joined(numbers: list[int]) -> str:
    return "-".join(map(str, numbers))
