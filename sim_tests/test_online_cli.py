"""`decolle-hw demo few-shot`, `from-scratch`, ... as a user types it: what is written, used again and refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from compile_tools import TINY

from decolle_hw.online.material import finished_run
from decolle_hw.training.runs import METRICS, load_run


@pytest.fixture(scope="module")
def place(digits_drawn_once_for_module, tmp_path_factory) -> Path:
    """Models that are trained in a second; nothing is trained yet."""
    folder = tmp_path_factory.mktemp("online")
    text = TINY.replace("EPOCHS", "2").replace("TRAINING", ", seed: 3")
    (folder / "tiny.yaml").write_text(text.replace("NETWORK", "Mhid: [32, 24]").replace("DATA", ", test_limit: 100"))
    convolutions = "Nhid: [3], Mhid: [12], kernel_size: 3, pool_size: 2"
    (folder / "conv.yaml").write_text(text.replace("NETWORK", convolutions).replace("DATA", ", test_limit: 100"))
    return folder


@pytest.fixture
def here(place, monkeypatch):
    monkeypatch.chdir(place)
    return place


SMALL = ("--model", "tiny.yaml", "--samples", "60", "--seeds", "2")


def test_few_shot(here, decolle_hw, tmp_path):
    """Trains features on the known classes, teaches the others; the second time it takes the same features."""
    command = ("demo", "few-shot", *SMALL, "--known", "0,1,2,3,4,5", "--shots", "2,10", "--passes", "1,3")
    first = decolle_hw(*command, "-o", str(tmp_path / "a"))
    assert first.code == 0, first.err
    (run,) = Path("runs/features/tiny").iterdir()
    assert load_run(run).classes == ("0", "1", "2", "3", "4", "5")
    found = json.loads((tmp_path / "a" / "tiny.few-shot.json").read_text())
    assert found["experiment"] == "few-shot" and found["new"] == ["6", "7", "8", "9"]
    assert (found["tested_old"], found["tested_new"]) == (36, 24), "60 recordings of 10 classes in turn"
    assert [row["shots"] for row in found["rows"]] == [2, 10]
    assert all(len(row["alone"][passes]) == 2 for row in found["rows"] for passes in ("1", "3"))
    assert (tmp_path / "a" / "tiny.few-shot.png").read_bytes().startswith(b"\x89PNG")
    assert f"features: {run}, trained on 0, 1, 2, 3, 4, 5" in first.out and "new classes 6, 7, 8, 9 alone" in first.out
    assert max(found["rows"][1]["alone"]["3"]) > 0.35, "chance is 25 %, and it may say 10 classes"
    second = decolle_hw(*command, "-o", str(tmp_path / "b"))
    assert second.code == 0 and len(list(Path("runs/features/tiny").iterdir())) == 1
    assert json.loads((tmp_path / "b" / "tiny.few-shot.json").read_text()) == found
    spec, metrics = load_run(run).spec, (run / METRICS).read_text()
    assert finished_run(spec, Path("runs/features")).folder == run
    for changed in ('"device": "on chip"', '"finished": false'):
        key = changed.partition(":")[0]
        (run / METRICS).write_text("\n".join(changed + "," if key in line else line for line in metrics.splitlines()))
        assert finished_run(spec, Path("runs/features")) is None, (
            f"{changed}: those weights are not what training came to"
        )
    (run / METRICS).write_text(metrics)


def test_from_scratch(here, decolle_hw, tmp_path):
    options = ("--model", "tiny.yaml", "--passes", "1", "--samples", "20", "--set", "dataset.train_limit=100")
    outcome = decolle_hw("demo", "from-scratch", *options, "-o", str(tmp_path))
    assert outcome.code == 0, outcome.err
    found = json.loads((tmp_path / "tiny.from-scratch.json").read_text())
    assert found["trained"] == 100 and found["tested"] == 20 and len(found["learning_rates"]) == 2
    assert list(found["after"]) == ["1"] and "hidden layers 256-128" in outcome.out
    assert (tmp_path / "tiny.from-scratch.png").read_bytes().startswith(b"\x89PNG")


def test_drift_and_continual(here, decolle_hw, tmp_path):
    """Each takes what it has a use for, and both write a picture and figures."""
    options = ("--shots", "2", "--passes", "1", "--seeds", "1", "--model", "tiny.yaml", "--samples", "20")
    for name, key, count in (("drift", "changes", 4), ("continual", "sequences", 2)):
        outcome = decolle_hw("demo", name, *options, "-o", str(tmp_path))
        assert outcome.code == 0, outcome.err
        assert len(json.loads((tmp_path / f"tiny.{name}.json").read_text())[key]) == count
        assert (tmp_path / f"tiny.{name}.png").read_bytes().startswith(b"\x89PNG")


WRONG = [
    (("few-shot", *SMALL, "--shots", "0"), ["--shots", "expected positive whole numbers, as 1,5,20"]),
    (("few-shot", *SMALL, "--passes", "5,1"), ["--passes 5,1: expected numbers from small to large, each once"]),
    (("few-shot", *SMALL, "--shots", "2,2", "--passes", "1001"), ["--shots 2,2", "--passes 1001: at most 1000"]),
    (("few-shot", *SMALL, "--known", "0"), ["--known 0: a single class"]),
    (("few-shot", *SMALL, "--known", "0,1,0"), ["--known 0,1,0: give each class once"]),
    (("few-shot", *SMALL, "--known", "0,eight"), ["--known: the data set has no class 'eight'", "known: 0, 1"]),
    (("few-shot", *SMALL, "--known", "0,1,2,3,4,5,6,7,8,9"), ["--known: all classes are known"]),
    (("few-shot", *SMALL, "--shots", "1,99"), ["--shots 99: class 7 has 24 training recordings; ask for at most 24"]),
    (("few-shot", "--model", "tiny.yaml", "--samples", "9"), ["--samples 9: tiny has 10 classes", "at least 10"]),
    (("few-shot", *SMALL, "--set", "dataset.chunk_size_train=10"), ["chunk_size_train 10, chunk_size_test 20"]),
    (("few-shot", *SMALL, "--data", "nowhere"), ["nowhere: does not exist"]),
    (("few-shot", *SMALL, "-o", "tiny.yaml"), ["tiny.yaml/tiny.few-shot.png: cannot be written"]),
    (("continual", *SMALL, "--shots", "1,2"), ["--shots 1,2: continual takes one number"]),
    (("drift", *SMALL, "--known", "0,1"), ["--known: drift teaches all classes"]),
    (("from-scratch", *SMALL, "--shots", "2"), ["--shots: from-scratch shows all training recordings"]),
    (("from-scratch", "--model", "conv.yaml"), ["--model tiny: has convolutions", "give a model of dense layers"]),
    (("from-scratch", *SMALL, "--set", "network.Mhid=[9, 9, 9]", "--set", "network.alpha=[0.9, 0.8, 0.7]"),
     ["with hidden layers of 256, 128", "alpha [0.9, 0.8, 0.7]: 3 values for 2 layers"]),
    (("few-shots",), ["'few-shots'; did you mean 'few-shot'?"]),
    (("digits", "--shots", "1", "--seeds", "2"), ["--seeds, --shots: for an experiment", "leave out"]),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "words"), WRONG)
def test_what_is_refused(here, decolle_hw, tmp_path, monkeypatch, arguments, words):
    """One message, before anything is trained; nothing is written."""
    from decolle_hw.online import material

    monkeypatch.setattr(material, "train_model", lambda *_: pytest.fail("was trained"))
    where = () if "-o" in arguments or arguments[0] == "few-shots" else ("-o", str(tmp_path))
    outcome = decolle_hw("demo", *arguments, *where, *(("--runs", str(tmp_path / "runs")) if where else ()))
    assert outcome.code == 2, outcome.out
    for word in words:
        assert word in outcome.err, outcome.err
    assert "Traceback" not in outcome.err and not [path for path in tmp_path.rglob("*") if path.is_file()]
