"""Targets: the shipped YAML files say what design section 6 says, and wrong ones are refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from decolle_hw.errors import SpecError
from decolle_hw.library import shipped_folder, shipped_names
from decolle_hw.targets import Limit, load_target


@pytest.mark.parametrize("name", shipped_names("deploy"))
def test_shipped_targets_name_a_source_for_every_limit(name: str) -> None:
    target = load_target(name)
    assert target.name == name
    limits = [limit for _, limit in target.limits] + list(target.boards.values())
    assert len(limits) == 24 + 7 + 5 + len(target.boards)  # of a core and a chip, energies, times
    assert all(isinstance(limit, Limit) and limit.source.strip() for limit in limits)
    # A limit whose source says that sources disagree has to say which was taken.
    assert all("taken" in limit.note for limit in limits if "conflict" in limit.note)


def test_loihi2_numbers() -> None:
    target = load_target("loihi2")
    assert (target.cores_per_chip.value, target.usable_cores.value, target.neurons_per_core.value) == (
        128,
        120,
        8192,
    )
    assert target.synaptic_memory_bits.value == 128 * 1024 * 8
    assert target.neurons_per_chip.value == 128 * 8192
    assert target.in_axons.confidence == target.out_axons.confidence == "assumed"
    assert target.neuron_models.value == ["cuba", "decolle"]
    assert target.largest_board == ("Hala Point", 1152)


def test_loihi1_numbers() -> None:
    target = load_target("loihi1")
    assert target.neurons_per_chip.value == 128 * 1024
    assert target.synaptic_memory_bits.value == 16_384 * 64
    assert target.neuron_models.value == ["cuba"]
    assert target.board_chips == {"Kapoho Bay": 2, "Nahuku": 32, "Pohoiki Springs": 768}


def test_energies_of_loihi2_are_those_of_loihi1_and_say_so() -> None:
    """No figure per event has been published for Loihi 2."""
    one, two = load_target("loihi1"), load_target("loihi2")
    assert one.energy is not None and two.energy is not None and one.energy.synaptic_op.value == 23.6
    for name in type(one.energy).model_fields:
        ours, theirs = getattr(two.energy, name), getattr(one.energy, name)
        assert ours.value == theirs.value
        assert (theirs.confidence, ours.confidence) == ("published", "assumed") and "Loihi 1" in ours.source


def test_boards_by_name() -> None:
    target = load_target("loihi2")
    assert target.chips_of("kapoho point") == 8
    with pytest.raises(SpecError, match=r"loihi2 has no board 'Kapoho Bay'; did you mean 'Kapoho Point'\?"):
        target.chips_of("Kapoho Bay")


def test_a_target_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_target("loihi2").usable_cores.value = 1


def write(folder: Path, **changes: Any) -> str:
    """A copy of loihi2.yaml with some keys replaced (None: removed)."""
    values = yaml.safe_load((shipped_folder("deploy") / "loihi2.yaml").read_text(encoding="utf-8"))
    values.update(changes)
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in values.items() if value is not None}))
    return str(path)


def limit(value: Any, **changes: Any) -> dict[str, Any]:
    return {"value": value, "source": "a test", "confidence": "assumed", **changes}


def test_a_users_own_file(tmp_path: Path) -> None:
    target = load_target(write(tmp_path, name="mine", usable_cores=limit(100)))
    assert (target.name, target.usable_cores.value, target.usable_cores.note) == ("mine", 100, "")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"neurons_per_cor": limit(1)}, "unknown key 'neurons_per_cor'; did you mean 'neurons_per_core'?"),
        ({"in_axons": limit(1, sorce="x")}, "unknown key 'in_axons.sorce'; did you mean 'source'?"),
        ({"in_axons": None}, "in_axons: is missing"),
        ({"in_axons": {"value": 4, "confidence": "assumed"}}, "in_axons.source: is missing"),
        ({"in_axons": limit(1, source="")}, "in_axons.source: '' is not valid: "),
        ({"in_axons": 4096}, "in_axons: 4096 is not valid: "),
        ({"in_axons": limit("4096")}, "in_axons.value: '4096' is not valid: "),
        ({"in_axons": limit(1.5)}, "in_axons.value: 1.5 is not valid: "),
        ({"in_axons": limit(0)}, "in_axons.value: 0 is not valid: "),
        ({"in_axons": limit(True)}, "in_axons.value: True is not valid: "),
        ({"weight_bits": limit(9)}, "weight_bits.value: 9 is not valid: "),
        ({"weight_exp": limit([7, -8])}, "weight_exp [7, -8]: the smaller exponent comes first"),
        ({"weight_exp": limit([7])}, "weight_exp.value: [7] is not valid: "),
        ({"usable_cores": limit(129)}, "usable_cores 129 exceeds cores_per_chip 128"),
        ({"neuron_models": limit(["lif"])}, "neuron_models.value.0: unknown value 'lif'"),
        ({"boards": {}}, "boards: {} is not valid: "),
        ({"boards": {"Tiny": limit(0)}}, "boards.Tiny.value: 0 is not valid: "),
        ({"neurons_per_chip": limit(2**21)}, "neurons_per_chip 2097152 exceeds cores_per_chip 128 x neurons_per_core"),
        ({"neurons_per_chip": limit(10)}, "neurons_per_core 8192 exceeds neurons_per_chip 10"),
        ({"mesh": limit([2, 2])}, "mesh 2x2 with cores_per_tile 4 has room for 16 cores, cores_per_chip is 128"),
        ({"axon_atoms": limit(1)}, "shared_axon_slots 2: axon_atoms 1 shares no axon, so it must be 1"),
        ({"neuron_models": limit(["cuba", "cuba"])}, "neuron_models ['cuba', 'cuba']: each at most once"),
        ({"energy": {"synaptic_op": limit(1.0)}}, "energy.neuron_update_active: is missing"),
        ({"usable_cores": limit(129), "weight_exp": limit([7, -8])}, "usable_cores 129 exceeds cores_per_chip 128; "),
    ],
)
def test_wrong_yaml_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = write(tmp_path, **changes)
    with pytest.raises(SpecError) as raised:
        load_target(path)
    assert f"{path}: {message}" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_confidence_is_one_of_four_words(tmp_path: Path) -> None:
    path = write(tmp_path, in_axons=limit(1, confidence="sure"))
    with pytest.raises(SpecError, match=r"in_axons\.confidence: unknown value 'sure'; .*assumed, derived, published"):
        load_target(path)


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, in_axons=limit(0), boards=None)
    with pytest.raises(SpecError, match=r"in_axons\.value: 0 is not valid: .*; boards: is missing"):
        load_target(path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "loihi3",
            "unknown target 'loihi3'; did you mean 'loihi2'? known: loihi1, loihi2; or give a path to a .yaml",
        ),
        ("nowhere.yaml", "target file nowhere.yaml does not exist"),
    ],
)
def test_unknown_target(name: str, message: str) -> None:
    with pytest.raises(SpecError) as raised:
        load_target(name)
    assert str(raised.value) == message


def test_a_file_that_is_not_a_mapping(tmp_path: Path) -> None:
    path = tmp_path / "list.yaml"
    path.write_text("- 1\n")
    with pytest.raises(SpecError, match="expected a mapping of keys, found list"):
        load_target(str(path))
