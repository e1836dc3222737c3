"""The `dataset` section: what is learned from, and how events become time steps."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from decolle_hw.errors import nearest
from decolle_hw.section import ClassNames, Microseconds, Pixels, PositiveInt, Section, Seed, Steps
from decolle_hw.spec_tonic import TONIC_DATASETS, TONIC_REFUSED, TonicDataset, tonic_name
from decolle_hw.spec_transforms import Transforms, resizes, sensors_along

DVS_GESTURE_SENSOR = (128, 128)  # height, width of a DVS128; tonic.datasets.DVSGesture.sensor_size


DatasetName = Literal[
    "digits",
    "folder",
    "array",
    "dvs_gesture",
    "tonic:ASLDVS",
    "tonic:CIFAR10DVS",
    "tonic:DVSGesture",
    "tonic:DVSLip",
    "tonic:NCALTECH101",
    "tonic:NMNIST",
    "tonic:NTIDIGITS18",
    "tonic:POKERDVS",
    "tonic:SHD",
    "tonic:SMNIST",
    "tonic:SSC",
]


class CameraSpec(Section):
    """The simulated event camera that still images are shown to: the embedded digits, and `array`."""

    contrast_threshold: float = Field(0.2, gt=0.0, description="change of log intensity that makes one event")
    noise_hz: float = Field(0.0, ge=0.0, description="spurious events per pixel and second")
    seed: Seed = Field(0, description="seed of scene jitter and noise")


class DatasetSpec(Section):
    """What is learned from, and how events become time steps.

    Of the sensor's pixels the centre of ``downsample * input_shape`` is used; an input is a block of
    ``downsample x downsample`` pixels. N-MNIST at the paper's size is ``input_shape: [2, 32, 32]`` with
    ``sensor_size: [34, 34]``; DVS Gesture at the paper's size is ``input_shape: [2, 32, 32]`` with ``downsample: 4``.
    """

    name: DatasetName = Field(
        "digits",
        description="embedded digits, a folder of recordings, images in an .npz, DVS Gesture as saved by tonic, or any "
        "of tonic's data sets that have classes, for example tonic:NMNIST",
    )
    path: str | None = Field(
        None,
        description="folder: FOLDER/<class>/<recording>, or FOLDER/{train,test}, or with labels FOLDER/<recording>; "
        "array: FILE.npz with x_train, y_train, x_test, y_test; dvs_gesture and tonic: the folder that tonic saves to",
    )
    labels: str | None = Field(
        None,
        description="FILE.csv with the columns recording and class, for a folder that is not sorted into class folders",
    )
    test_path: str | None = Field(None, description="folder with the test recordings, if it stands elsewhere")
    test_list: str | None = Field(None, description="FILE with the name of one recording per line; these are held out")
    split_by: Literal["recording", "time"] = Field(
        "recording",
        description="what is held out where no test folder or list says it: whole recordings, or with time_window the "
        "last windows of each recording (for one long recording per class)",
    )
    classes: ClassNames | None = Field(
        None, description="learn only these classes, two or more, in the order of the data set; default: all of them"
    )
    test_fraction: float = Field(0.2, gt=0.0, lt=1.0, description="held out where no test folder or list says what")
    train_limit: PositiveInt | None = Field(None, description="only so many training recordings, evenly spread")
    test_limit: PositiveInt | None = Field(None, description="only so many test recordings, evenly spread")
    input_shape: list[Pixels] = Field(
        default_factory=lambda: [2, 16, 16], min_length=3, max_length=3, description="polarities, height, width"
    )
    sensor_size: list[Pixels] | None = Field(
        None, min_length=2, max_length=2, description="height, width of a sensor of which only the centre is used"
    )
    downsample: Pixels = Field(1, description="pixels along each edge of the block that makes one input")
    deltat: int = Field(1000, ge=1, le=10**9, description="length of a time step in microseconds")
    time_origin: Literal["auto", "zero", "first_event"] = Field(
        "auto",
        description="where the time of a recording begins: at its clock's zero, or at its first event; auto: zero for "
        "N-MNIST's .bin, first_event for all others",
    )
    time_window: Microseconds | None = Field(
        None, description="microseconds: longer recordings are cut into windows of so long, each of which is a sample"
    )
    overlap: Annotated[int, Field(ge=0)] = Field(0, description="microseconds that neighbouring windows share")
    denoise: Microseconds | None = Field(
        None, description="microseconds: drop events without another one beside them in so long (tonic's Denoise)"
    )
    transforms: Transforms = Field(
        default_factory=list,
        description="tonic's transforms of events, in this order: [RandomFlipLR, {DropEvent: {p: 0.1}}]; random ones "
        "are drawn once for each training recording, and not used in testing",
    )
    transform_seed: Seed = Field(0, description="seed of random transforms")
    chunk_size_train: Steps = Field(300, description="steps of a recording used in training")
    chunk_size_test: Steps = Field(300, description="steps of a recording used in testing and on chip")
    crop: Literal["start", "random"] = Field(
        "start", description="training uses the first chunk_size_train steps, or a new random window in each epoch"
    )
    camera: CameraSpec = CameraSpec()
    strict: bool = Field(
        False, description="stop at the first recording that cannot be read, instead of leaving such recordings out"
    )
    cache: bool = Field(True, description="keep binned recordings on disk, in $DECOLLE_HW_CACHE or ~/.cache/decolle-hw")
    workers: Annotated[int, Field(ge=0, le=256)] = Field(
        0, description="processes that read recordings; 0: the calling one"
    )

    @property
    def tonic(self) -> TonicDataset | None:
        """What is known of one of tonic's data sets; None for any other."""
        name = tonic_name(self.name)
        return None if name is None else TONIC_DATASETS[name]

    @property
    def sensor(self) -> tuple[int, int]:
        """(height, width) in pixels of the sensor that the recordings come from."""
        if self.sensor_size is not None:
            return self.sensor_size[0], self.sensor_size[1]
        known = _known_sensor(self.name)
        return self.field_of_view if known is None else known

    @property
    def sensors(self) -> list[tuple[int, int]]:
        """(height, width) of what is recorded before each of `transforms`, and after the last of them."""
        return sensors_along(self.transforms, self.sensor)

    @property
    def block(self) -> tuple[int, int]:
        """(height, width) in pixels of what makes one input; of a sensor with a single row, one row."""
        known = _known_sensor(self.name) if self.sensor_size is None else self.sensor_size
        return (1 if known is not None and known[0] == 1 else self.downsample), self.downsample

    @property
    def field_of_view(self) -> tuple[int, int]:
        """(height, width) in pixels of the centre that becomes the inputs."""
        return self.input_shape[1] * self.block[0], self.input_shape[2] * self.block[1]

    @field_validator("name", mode="before")
    @classmethod
    def _has_classes(cls, name: Any) -> Any:
        of_tonic = tonic_name(name) if isinstance(name, str) else None
        if of_tonic in TONIC_REFUSED:
            raise ValueError(f"{name}: {TONIC_REFUSED[of_tonic]}, so there is nothing to tell apart")
        if of_tonic is not None and of_tonic not in TONIC_DATASETS:
            in_any_case = {known.casefold(): known for known in TONIC_DATASETS}
            meant = in_any_case.get(of_tonic.casefold(), of_tonic)
            raise ValueError(f"tonic has no data set {of_tonic!r} with classes; {nearest(meant, TONIC_DATASETS)}")
        return name

    @model_validator(mode="before")
    @classmethod
    def _a_known_sensor_gives_its_sizes(cls, values: Any) -> Any:
        """Where `input_shape` divides the only possible sensor, one downsample shows all of it; alone, all is input."""
        if not isinstance(values, dict) or not isinstance(values.get("name"), str):
            return values
        known = _known_sensor(values["name"])
        said = "downsample" in values or values.get("sensor_size") is not None or resizes(values.get("transforms"))
        if known is None or said:
            return values
        shape, of_tonic = values.get("input_shape"), TONIC_DATASETS.get(tonic_name(values["name"]) or "")
        if shape is None and of_tonic is not None:
            return {**values, "input_shape": [of_tonic.polarities, *known]}
        if not (isinstance(shape, list) and len(shape) == 3 and all(isinstance(n, int) and n > 0 for n in shape)):
            return values  # reported with the field itself, or by `_is_consistent`
        downsample = known[1] // shape[2]
        rows = shape[1] * (1 if known[0] == 1 else downsample)
        if (rows, shape[2] * downsample) == known:
            return {**values, "downsample": downsample}
        return values

    @model_validator(mode="after")
    def _is_consistent(self) -> DatasetSpec:
        self._check_polarities()
        self._check_files()
        self._check_events()
        self._check_sensor()
        return self

    def _check_polarities(self) -> None:
        if self.input_shape[0] not in (1, 2):
            raise ValueError(
                f"input_shape {self.input_shape}: the first number is polarities and must be 2, or 1 to merge them"
            )
        if self.tonic is not None and self.input_shape[0] > self.tonic.polarities:
            raise ValueError(
                f"input_shape {self.input_shape}: {self.name} has no polarities; set it to {[1, *self.input_shape[1:]]}"
            )

    def _check_files(self) -> None:
        if self.name == "digits" and (self.path or self.test_path):
            raise ValueError("path and test_path are for name: folder; digits are embedded")
        for key in ("test_path", "labels", "test_list", "time_window"):
            if getattr(self, key) and self.name != "folder":
                raise ValueError(f"{key} {getattr(self, key)}: is for name: folder; {self.name} has its own")
        if self.test_path and self.test_list:
            raise ValueError(f"test_path {self.test_path} and test_list {self.test_list}: give one of them")
        if self.test_path and self.labels:
            raise ValueError(f"labels {self.labels}: lists all recordings of path; leave test_path out, set test_list")
        if self.split_by == "time" and self.time_window is None:
            raise ValueError("split_by time: holds out the last windows of each recording; set time_window too")
        if self.split_by == "time" and (self.test_path or self.test_list):
            raise ValueError("split_by time: is for recordings of which test_path or test_list hold none out")

    def _check_events(self) -> None:
        for key, unused in (("downsample", 1), ("sensor_size", None), ("denoise", None), ("transforms", [])):
            if self.name in ("digits", "array") and getattr(self, key) != unused:
                raise ValueError(
                    f"{key} is for recordings; the simulated camera of {self.name} records at input_shape "
                    f"{self.input_shape} itself"
                )
        if self.overlap and self.time_window is None:
            raise ValueError(f"overlap {self.overlap}: is shared by neighbouring windows; set time_window too")
        if self.time_window is not None and self.overlap >= self.time_window:
            raise ValueError(f"overlap {self.overlap}: must be less than time_window {self.time_window}")
        if self.time_window is not None and self.time_window < self.deltat:
            raise ValueError(f"time_window {self.time_window}: is shorter than a step, deltat {self.deltat}")

    def _check_sensor(self) -> None:
        (height, width), (seen_height, seen_width) = self.sensors[-1], self.field_of_view
        if seen_height > height or seen_width > width:
            after = "" if self.sensors[-1] == self.sensor else " after the transforms"
            raise ValueError(
                f"input_shape {self.input_shape} with downsample {self.downsample} needs {seen_height}x{seen_width} "
                f"pixels (height x width), the sensor has {height}x{width}{after}; lower input_shape or downsample"
            )
        known = _known_sensor(self.name)
        if known is None:
            return
        if self.sensor != known:
            raise ValueError(f"sensor_size {self.sensor_size}: recordings of {_title(self.name)} have {list(known)}")
        # Never by accident: nine tenths of the picture would be lost without a word.
        if self.sensor_size is None and (seen_height, seen_width) != (height, width):
            raise ValueError(
                f"input_shape {self.input_shape} with downsample {self.downsample} shows {seen_height}x{seen_width} of "
                f"{height}x{width} pixels; {self._whole_sensor_remedy()}, or sensor_size to {list(known)} if only "
                f"the centre is wanted"
            )

    def _whole_sensor_remedy(self) -> str:
        if self.sensors[-1] == DVS_GESTURE_SENSOR:
            return "set input_shape to [2, 32, 32] and downsample to 4"
        return f"set input_shape to {[self.input_shape[0], *self.sensors[-1]]} and downsample to 1"


def _known_sensor(name: str) -> tuple[int, int] | None:
    """(height, width) of the one sensor that all recordings of a published data set come from."""
    if name == "dvs_gesture":
        return DVS_GESTURE_SENSOR
    of_tonic = TONIC_DATASETS.get(tonic_name(name) or "")
    return None if of_tonic is None else of_tonic.sensor


def _title(name: str) -> str:
    return "DVS Gesture" if name == "dvs_gesture" else name
