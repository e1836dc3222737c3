"""The moving picture: recordings on their way through a compiled network, as a GIF that loops.

From left to right: what the camera sends, the spikes of each layer up to now, and what the readout has gathered for
each class. All artists are made once; a frame restores what does not move and draws the rest again, so that nothing
flickers. All frames share one palette, and GIF keeps of each only what has changed.
"""

# T steps, F frames, I inputs, N neurons, C classes, H height, W width

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from decolle_hw.atomic import new_file
from decolle_hw.compiler.program import Program
from decolle_hw.page.words import printable, shortened
from decolle_hw.palette import ORANGE, SKY_BLUE
from decolle_hw.progress import Report
from decolle_hw.sim.trace import Trace

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure
    from PIL.Image import Image

# A dark stage, as on the screens of event cameras; Okabe-Ito on it, readable with colour-blind eyes.
STAGE, SHEET, INK, MUTED = "#14171B", "#1D2126", "#ECEEF1", "#A5ADB8"
ON, OFF, SPIKE, LEADING, OTHERS = ORANGE, SKY_BLUE, "#ECEEF1", "#14A97C", "#5A626D"
INCHES, DPI = (8.0, 4.5), 100  # 800 x 450 pixels
FRAMES = 36  # of a recording, or as many as it has steps
FRAME_MS, LAST_MS = 90, 1600  # how long a frame stays, and the decision at the end
GLOW = (1.0, 0.55, 0.3)  # of events in this frame, the one before, and that before
MOST_ROWS, MOST_LAYERS, MOST_CLASSES = 64, 5, 12  # what is still readable
SHORT_WORD = 12  # characters of a class name
PALETTE = 64  # colours
LONGEST = 8  # a sensor that is longer for its width, such as 1 x 700 channels, fills its frame


@dataclass(frozen=True, eq=False)
class Scene:
    """One recording."""

    spikes_TI: NDArray[np.uint8]  # binary input
    trace: Trace  # of this recording alone
    label: int


def animate(program: Program, scenes: list[Scene], path: Path, progress: Report) -> bytes:
    """Write the GIF at `path`; returns its last frame as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from PIL import Image

    # Class names are folder names: a $ in one is not mathematics.
    with matplotlib.rc_context({"text.parse_math": False, "font.size": 9, "text.color": INK}):
        stage = _Stage(program, scenes)
        frames, durations = [], []
        total = sum(len(stage.ends(scene)) for scene in scenes)
        for scene in scenes:
            ends = stage.ends(scene)
            for place, end in enumerate(ends):
                frames.append(stage.frame(scene, end, ends[max(place - len(GLOW) + 1, 0) : place + 1]))
                durations.append(LAST_MS if place == len(ends) - 1 else FRAME_MS)
                progress(len(frames), total)
        stage.close()
    lasts = [frame for frame, duration in zip(frames, durations, strict=True) if duration == LAST_MS]
    together = np.concatenate([np.asarray(frame) for frame in lasts] + [_swatches(frames[0].width)])
    palette = Image.fromarray(together).quantize(PALETTE, method=Image.Quantize.MEDIANCUT)
    small = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    with new_file(path) as partial:
        small[0].save(
            partial, format="GIF", save_all=True, append_images=small[1:], duration=durations, loop=0, disposal=1
        )
    still = io.BytesIO()
    small[-1].save(still, format="PNG", optimize=True)
    return still.getvalue()


def evidence(program: Program, trace: Trace) -> NDArray[np.int64]:
    """(T, C) what has spoken for each class up to a step, as `decolle_hw.sim.trace.readouts` counts at the end."""
    last = program.layers[-1]
    weight_NC, bias_C = last.readout_weight.T.astype(np.int64), last.readout_bias.astype(np.int64)
    if program.prediction == "voltage":
        of_voltage: NDArray[np.int64] = trace.layers[-1].registers["v"][0].astype(np.int64) @ weight_NC + bias_C
        return of_voltage
    step_TC = trace.layers[-1].spikes[0].astype(np.int64) @ weight_NC + bias_C
    if program.prediction == "mode":
        step_TC = (step_TC.argmax(1)[:, None] == np.arange(len(bias_C))).astype(np.int64)
    step_TC[: program.burnin_steps] = 0
    summed: NDArray[np.int64] = step_TC.cumsum(0)
    return summed


class _Stage:
    """The figure, and all that moves on it."""

    def __init__(self, program: Program, scenes: list[Scene]) -> None:
        from matplotlib import pyplot as plt

        self.program = program
        self.evidence = {id(scene): evidence(program, scene.trace) for scene in scenes}
        self.classes = _classes_shown(list(self.evidence.values()), [scene.label for scene in scenes])
        self.layers = _layers_shown(program)
        self.figure: Figure = plt.figure(figsize=INCHES, dpi=DPI, facecolor=STAGE)
        self.moving: list[Artist] = []
        grid = self.figure.add_gridspec(
            1, 3, width_ratios=[1.3, 1.5, 1.0], left=0.02, right=0.975, top=0.82, bottom=0.11, wspace=0.14
        )
        self.title = self._text(0.02, 0.94, 13, weight="bold")
        self.clock = self._text(0.02, 0.035, 9, color=MUTED)
        self.verdict = self._text(0.975, 0.94, 13, weight="bold", horizontalalignment="right")
        self._camera(grid[0])
        self._rasters(grid[1])
        self._bars(grid[2])
        self.figure.canvas.draw()
        self.still = self.figure.canvas.copy_from_bbox(self.figure.bbox)  # type: ignore[attr-defined]

    def ends(self, scene: Scene) -> list[int]:
        """The step before which each frame ends."""
        steps = len(scene.spikes_TI)
        return [int(end) for end in np.linspace(0, steps, min(FRAMES, steps) + 1).round()[1:]]

    def frame(self, scene: Scene, end: int, ends: list[int]) -> Image:
        """The picture at one moment; `ends` are those of the frames that still glow, this one last."""
        from PIL import Image

        program = self.program
        self.seen.set_data(self._glowing(scene, ends))
        for image, index in zip(self.rasters, self.layers, strict=True):
            spikes_NT = _thinned(scene.trace.layers[index].spikes[0]).T.astype(np.uint8)
            spikes_NT[:, end:] = 0
            image.set_data(spikes_NT)
        for line in self.now:
            line.set_xdata([end - 0.5, end - 0.5])
        sums_TC = self.evidence[id(scene)]
        now_C, leader = sums_TC[end - 1], int(sums_TC[end - 1].argmax())
        scale = max(1, int(np.abs(sums_TC).max()))
        undecided = end <= program.burnin_steps and program.prediction != "voltage"
        for bar, name, label in zip(self.bars, self.names, self.classes, strict=True):
            leads = label == leader and not undecided
            bar.set_width(now_C[label] / scale)
            bar.set_color(LEADING if leads else OTHERS)
            name.set_color(LEADING if leads else INK)
        self.title.set_text(f"{_word(program.name, 24)} in Lava: class {_word(program.classes[scene.label])}")
        self.clock.set_text(
            f"step {end} of {len(scene.spikes_TI)}{', burn-in: nothing counts yet' if undecided else ''}"
        )
        is_last, right = end == len(scene.spikes_TI), leader == scene.label
        decided = f"decides {_word(program.classes[leader])}: {'right' if right else 'wrong'}"
        self.verdict.set_text(decided if is_last else "")
        self.verdict.set_color(LEADING if right else ON)
        canvas: Any = self.figure.canvas
        canvas.restore_region(self.still)
        for artist in self.moving:
            self.figure.draw_artist(artist)
        return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())

    def close(self) -> None:
        from matplotlib import pyplot as plt

        plt.close(self.figure)

    def _text(self, x: float, y: float, size: int, **given: Any) -> Any:
        return self._moves(self.figure.text(x, y, "", fontsize=size, animated=True, **given))

    def _moves(self, artist: Any) -> Any:
        artist.set_animated(True)
        self.moving.append(artist)
        return artist

    def _camera(self, place: Any) -> None:
        axes = self.figure.add_subplot(place, facecolor=SHEET, anchor="N")
        polarities, height, width = self.program.input_shape
        blank = np.zeros((height, width, 3))
        is_long = LONGEST * min(height, width) < max(height, width)
        image = axes.imshow(blank, interpolation="nearest", aspect="auto" if is_long else "equal")
        self.seen = self._moves(image)
        axes.set_title("camera", loc="left", color=MUTED, fontsize=10)
        _bare(axes)
        keys = [(ON, "ON"), (OFF, "OFF")] if polarities > 1 else [(ON, "event")]
        for number, (colour, word) in enumerate(keys):
            axes.text(
                1.0 - 0.15 * (len(keys) - 1 - number), 1.03, word, color=colour, transform=axes.transAxes,
                horizontalalignment="right", fontsize=10,
            )  # fmt: skip

    def _rasters(self, place: Any) -> None:
        from matplotlib.colors import ListedColormap

        inner = place.subgridspec(len(self.layers), 1, hspace=0.42)
        colours = ListedColormap([SHEET, SPIKE])
        self.rasters, self.now = [], []
        for number, index in enumerate(self.layers):
            axes = self.figure.add_subplot(inner[number], facecolor=SHEET)
            neurons, steps = self.program.layers[index].num_neurons, self.program.steps
            rows = len(range(0, neurons, _every(neurons)))
            image = axes.imshow(
                np.zeros((rows, steps), np.uint8), cmap=colours, vmin=0, vmax=1, aspect="auto",
                interpolation="nearest", origin="lower",
            )  # fmt: skip
            self.rasters.append(self._moves(image))
            self.now.append(self._moves(axes.axvline(-0.5, color=OFF, linewidth=1)))
            shown = f", {rows} shown" if rows < neurons else ""
            axes.set_title(f"layer {index}: {neurons:,} neurons{shown}", loc="left", color=MUTED, fontsize=9, pad=3)
            _bare(axes)

    def _bars(self, place: Any) -> None:
        axes = self.figure.add_subplot(place, facecolor=STAGE)
        rows = range(len(self.classes))
        lowest = min(float(sums_TC.min()) / max(1, np.abs(sums_TC).max()) for sums_TC in self.evidence.values())
        axes.set_xlim(min(0.0, lowest) - 0.02, 1.02)
        axes.set_ylim(len(self.classes) - 0.4, -0.6)
        self.bars = [self._moves(bar) for bar in axes.barh(rows, np.zeros(len(self.classes)), height=0.62)]
        axes.axvline(0, color=MUTED, linewidth=0.8)
        names = [_word(self.program.classes[label]) for label in self.classes]
        self.names = [
            self._moves(
                axes.text(
                    -0.03, row, name, transform=axes.get_yaxis_transform(), color=INK, fontsize=10,
                    horizontalalignment="right", verticalalignment="center",
                )
            )
            for row, name in zip(rows, names, strict=True)
        ]  # fmt: skip
        longest = max(map(len, names))
        box = axes.get_position()
        room = 0.011 * max(0, longest - 2)  # a name stands left of its bar
        axes.set_position((box.x0 + room, box.y0, box.width - room, box.height))
        axes.set_title("readout so far", loc="left", color=MUTED, fontsize=10)
        _bare(axes)

    def _glowing(self, scene: Scene, ends: list[int]) -> NDArray[np.float64]:
        """(H, W, 3) events of the last frames, the older the darker."""
        polarities, height, width = self.program.input_shape
        all_ends = [0, *self.ends(scene)]
        level_PHW = np.zeros((polarities, height, width))
        for age, end in enumerate(reversed(ends)):
            start = all_ends[all_ends.index(end) - 1]
            sent = scene.spikes_TI[start:end].any(0).reshape(polarities, height, width)
            level_PHW = np.maximum(level_PHW, GLOW[age] * sent)
        sheet = _rgb(SHEET)
        picture = np.broadcast_to(sheet, (height, width, 3)).copy()
        # OFF stands first: index (p*H + y)*W + x, and p is 1 where it became brighter.
        for level_HW, colour in zip(level_PHW, (OFF, ON) if polarities > 1 else (ON,), strict=True):
            mixed = sheet + level_HW[..., None] * (_rgb(colour) - sheet)
            stronger = level_HW[..., None] > 0
            picture = np.where(stronger, np.maximum(picture, mixed), picture)
        return picture


def _swatches(width: int) -> NDArray[np.uint8]:
    """Every colour of events as a stripe: the palette is made of what fills much of the picture."""
    sheet, height = _rgb(SHEET), 24
    mixed = [sheet + level * (_rgb(colour) - sheet) for colour in (ON, OFF) for level in GLOW]
    stripes = np.repeat(np.round(255 * np.array(mixed)).astype(np.uint8), height, 0)
    return np.repeat(stripes[:, None], width, 1)


def _layers_shown(program: Program) -> list[int]:
    """Layers with neurons of their own; of many the first and the last ones."""
    found = [index for index, layer in enumerate(program.layers) if not layer.is_pooling]
    return found if len(found) <= MOST_LAYERS else found[: MOST_LAYERS - 2] + found[-2:]


def _classes_shown(sums: list[NDArray[np.int64]], labels: list[int]) -> list[int]:
    """All classes, or of many those that had the most to say, and the true ones."""
    count = sums[0].shape[1]
    if count <= MOST_CLASSES:
        return list(range(count))
    loudest = np.argsort(-np.max([sums_TC.max(0) for sums_TC in sums], 0), kind="stable")
    wanted = dict.fromkeys([*(int(sums_TC[-1].argmax()) for sums_TC in sums), *labels, *map(int, loudest)])
    return sorted(list(wanted)[:MOST_CLASSES])


def _every(neurons: int) -> int:
    return -(-neurons // MOST_ROWS)


def _thinned(spikes_TN: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Every k-th neuron, few enough to be seen."""
    return spikes_TN[:, :: _every(spikes_TN.shape[1])]


def _word(name: str, most: int = SHORT_WORD) -> str:
    return shortened(printable(name), most)


def _bare(axes: Any) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _rgb(colour: str) -> NDArray[np.float64]:
    return np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
