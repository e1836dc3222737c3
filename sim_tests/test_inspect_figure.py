"""The picture of the classes: colours that say the polarity, panels that stay few."""

from dataclasses import replace

import numpy as np
import pytest
from recording_tools import drawn_events

from decolle_hw.inspecting.analysis import MOST_PANELS, Gathering, Inspection, Measured
from decolle_hw.inspecting.figure import OFF, ON, draw_classes, mixed_colours, picture_of
from decolle_hw.inspecting.pixels import Counts, Frame, count_events, picture_of_moment


def rgb(colour):
    return np.array([int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)]) / 255


def test_colours_say_the_polarity():
    picture_2hw = np.zeros((2, 2, 3), int)
    picture_2hw[1, 0, 0] = 400  # ON only
    picture_2hw[0, 0, 1] = 400  # OFF only
    picture_2hw[:, 0, 2] = 200  # both
    picture_2hw[1, 1, 0] = 100  # a quarter of the events covers half
    colours = mixed_colours(picture_2hw)
    np.testing.assert_allclose(colours[0, 0], rgb(ON))
    np.testing.assert_allclose(colours[0, 1], rgb(OFF))
    np.testing.assert_allclose(colours[0, 2], (rgb(ON) + rgb(OFF)) / 2)
    np.testing.assert_allclose(colours[1, 0], (1 + rgb(ON)) / 2)
    np.testing.assert_array_equal(colours[1, 1:], 1)
    np.testing.assert_array_equal(mixed_colours(np.zeros((2, 4, 4), int)), 1)


def gathered(count, size):
    """`count` classes of one recording each."""
    frame = Frame(*size, 3001)
    names = tuple(f"class {index}, which has ${index}$ a long name" for index in range(count))
    events = [drawn_events(index, 300, 300_000, size) for index in range(count)]
    gathering = Gathering(frame, names)
    for index, name in enumerate(names):
        gathering.add(index, name, count_events([events[index]], frame, 0, 300_000), 300_000)

    def moment(index, start_us, length_us):
        return picture_of_moment([events[index]], frame, start_us, length_us)

    recordings = tuple(Measured(name, name, "", "made up", 300, 150, 300_000, 300_000) for name in names)
    return Inspection(
        "made/up", "a folder for each class", recordings, (), (), size, "as drawn", 2, gathering.hot(),
        gathering.panels(moment), gathering.offered, names, 3001, "files", count,
    )  # fmt: skip


def test_many_classes_are_drawn_evenly(tmp_path):
    found = gathered(47, (12, 16))
    assert len(found.panels) == MOST_PANELS and found.panels_of == 47
    chosen = [int(panel.name.split(",")[0].split()[1]) for panel in found.panels]
    assert chosen[0] == 0 and chosen[-1] == 46 and set(np.diff(chosen)) <= {2, 3}
    for panel in found.panels:
        assert panel.picture_2hw.sum() == 300 and 0 < panel.moment_2hw.sum() < 300
        assert np.nansum(panel.rate_hz_B) * 3001 / 1e6 == pytest.approx(300)
    path = tmp_path / "picture.png"
    draw_classes(replace(found, panels=found.panels[:4]), path)
    assert path.read_bytes().startswith(b"\x89PNG") and list(tmp_path.iterdir()) == [path]


def test_rates_count_only_recordings_that_last():
    frame = Frame(4, 4, 1000)
    gathering = Gathering(frame, ("a",))
    for index, duration in enumerate((10_000, 49_999)):
        events = drawn_events(index, 1000, duration, (4, 4))
        gathering.add(index, "a", count_events([events], frame, 0, duration), duration)
    [panel] = gathering.panels(lambda *_: np.zeros((2, 4, 4), np.int64))
    assert np.isnan(panel.rate_hz_B[50:]).all() and not np.isnan(panel.rate_hz_B[:50]).any()
    assert panel.rate_hz_B[20:49].mean() < 25_000 < panel.rate_hz_B[:10].mean()


def test_counts_of_nothing_add_nothing():
    frame = Frame(4, 4, 1000)
    counts = count_events([drawn_events(1, 50, 9000, (4, 4))], frame, 0, 9000)
    np.testing.assert_array_equal((counts + Counts.none(frame)).pixels_HW, counts.pixels_HW)


def test_names_of_pictures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.b").mkdir()
    assert str(picture_of("folder/")) == "folder.inspect.png"
    assert str(picture_of("x/mnist.npz")) == "mnist.inspect.png"
    assert str(picture_of("a.b")) == "a.b.inspect.png"
    assert str(picture_of(".")) == f"{tmp_path.name}.inspect.png"
