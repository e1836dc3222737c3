"""NIR files that are damaged, or lie: one line that says what is wrong, never a traceback, never a huge array."""

from __future__ import annotations

import h5py
import nir
import numpy as np
import pytest

from decolle_hw.errors import ArtifactError, CompileError
from decolle_hw.interchange.nir_import import read_nir
from sim_tests.nir_tools import lif, sink, source, write


def dense(outputs: int, inputs: int) -> nir.Linear:
    return nir.Linear(np.random.default_rng(1).normal(0.3, 1.0, (outputs, inputs)))


def test_files_that_are_no_graphs(tmp_path):
    good = write(tmp_path / "good.nir", source(4), dense(3, 4), lif(3), sink(3))
    text, empty, other = tmp_path / "text.nir", tmp_path / "empty.nir", tmp_path / "other.nir"
    text.write_text("not HDF5 at all")
    empty.write_bytes(b"")
    with h5py.File(other, "w") as file:
        file["x"] = 1
    (tmp_path / "cut.nir").write_bytes(good.read_bytes()[:-500])
    for path, message in (
        (tmp_path / "none.nir", "does not exist"), (tmp_path, "is not a file"), (text, "not an HDF5 file"),
        (empty, "not an HDF5 file"), (other, "group 'node' is missing"), (tmp_path / "cut.nir", "cannot be read"),
    ):  # fmt: skip
        with pytest.raises(ArtifactError, match=message) as raised:
            read_nir(path)
        assert raised.value.exit_code == 2


def damage(path, change):
    nir.write(path, nir.NIRGraph.from_list(source(4), dense(3, 4), lif(3), sink(3)))
    with h5py.File(path, "r+") as file:
        change(file["node"])
    return path


def replaced(name, value):
    def change(node):
        del node[name]
        node[name] = value

    return change


def bomb(node):
    del node["nodes/linear/weight"]
    node.create_dataset("nodes/linear/weight", shape=(1 << 20, 1 << 12), dtype="f8", chunks=(1, 4096))


def external(node):
    node["nodes/linear/more"] = h5py.ExternalLink("/etc/passwd", "/x")


def circle(node):
    node["nodes/again"] = node["nodes"]


def flatten_of_text(node):
    node["nodes/lif/type"][()] = "Flatten"
    for name in ("tau", "r", "v_leak", "v_reset", "v_threshold"):
        del node["nodes/lif"][name]
    node["nodes/lif/start_dim"] = np.array(["x"], "S1")
    node["nodes/lif/end_dim"] = 0


DAMAGES = {
    "is larger than what the file holds": bomb,
    "is a link to another place": external,
    "nested more than": circle,
    "type none: is not supported": lambda node: node["nodes"].create_group("odd"),
    "weight.*neither a number": replaced("nodes/linear/weight", np.zeros(3, [("a", "f4")])),
    "the nir package cannot make it: .*weight": lambda node: node["nodes/linear"].pop("weight"),
    "the nir package cannot make it.*tua": lambda node: node["nodes/lif"].move("tau", "tua"),
    "the nir package cannot make it: .*str": replaced("nodes/linear/weight", "text"),
    "is not a list of pairs": replaced("edges", np.arange(3)),
    "outermost node is 'LIF'": replaced("type", "LIF"),
    "All parameters must have the same shape": replaced("nodes/lif/tau", np.ones(7)),
    "start_dim is not made of numbers": flatten_of_text,
    "weight is empty": replaced("nodes/linear/weight", np.zeros((0, 4))),
}


@pytest.mark.parametrize("message", DAMAGES)
def test_damaged_and_malicious_files(tmp_path, message):
    path = damage(tmp_path / "net.nir", DAMAGES[message])
    with pytest.raises((ArtifactError, CompileError), match=message) as raised:
        read_nir(path, approximate=True)
    assert "\n" not in str(raised.value)


def test_flipped_bytes_never_escape_as_anything_else(tmp_path):
    """NIR files have no checksums: a flipped byte may be read as another number, but never ends in a traceback."""
    good = write(tmp_path / "good.nir", source(4), dense(3, 4), lif(3, r=8.0), sink(3)).read_bytes()
    rng = np.random.default_rng(1)
    outcomes = {True: 0, False: 0}
    for place, bit in zip(rng.integers(0, len(good), 40), rng.integers(0, 8, 40), strict=True):
        content = bytearray(good)
        content[place] ^= 1 << int(bit)
        (tmp_path / "bad.nir").write_bytes(content)
        try:
            read_nir(tmp_path / "bad.nir")
            outcomes[True] += 1
        except (ArtifactError, CompileError):
            outcomes[False] += 1
    assert outcomes[True] and outcomes[False]
