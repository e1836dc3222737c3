"""The `dataset` section: what is learned from, and how events become time steps."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from decolle_hw.section import ClassNames, Pixels, PositiveInt, Section, Seed, Steps

BIN_HEIGHT, BIN_WIDTH = 240, 256  # one byte per coordinate in N-MNIST's .bin, and y = 240 marks a clock overflow
DVS_GESTURE_SENSOR = (128, 128)  # height, width of a DVS128; tonic.datasets.DVSGesture.sensor_size


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

    name: Literal["digits", "folder", "array", "dvs_gesture"] = Field(
        "digits",
        description="embedded digits, a folder of recordings, images in an .npz, or DVS Gesture as saved by tonic",
    )
    path: str | None = Field(
        None,
        description="folder: FOLDER/<class>/<recording>.bin, or FOLDER/{train,test}; array: FILE.npz with x_train, "
        "y_train, x_test, y_test; dvs_gesture: the folder that tonic saves to",
    )
    test_path: str | None = Field(None, description="folder with the test recordings, if it stands elsewhere")
    classes: ClassNames | None = Field(
        None, description="learn only these classes, two or more, in the order of the data set; default: all of them"
    )
    test_fraction: float = Field(0.2, gt=0.0, lt=1.0, description="held out per class where there is no test folder")
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
    chunk_size_train: Steps = Field(300, description="steps of a recording used in training")
    chunk_size_test: Steps = Field(300, description="steps of a recording used in testing and on chip")
    crop: Literal["start", "random"] = Field(
        "start", description="training uses the first chunk_size_train steps, or a new random window in each epoch"
    )
    camera: CameraSpec = CameraSpec()
    cache: bool = Field(True, description="keep binned recordings on disk, in $DECOLLE_HW_CACHE or ~/.cache/decolle-hw")
    workers: Annotated[int, Field(ge=0, le=256)] = Field(
        0, description="processes that read recordings; 0: the calling one"
    )

    @property
    def sensor(self) -> tuple[int, int]:
        """(height, width) in pixels of the sensor that the recordings come from."""
        if self.sensor_size is not None:
            return self.sensor_size[0], self.sensor_size[1]
        if self.name == "dvs_gesture":
            return DVS_GESTURE_SENSOR
        return self.field_of_view

    @property
    def field_of_view(self) -> tuple[int, int]:
        """(height, width) in pixels of the centre that becomes the inputs."""
        return self.input_shape[1] * self.downsample, self.input_shape[2] * self.downsample

    @model_validator(mode="before")
    @classmethod
    def _a_known_sensor_gives_downsample(cls, values: Any) -> Any:
        """DVS Gesture comes from one sensor: where `input_shape` divides it, only one downsample shows all of it."""
        if not isinstance(values, dict) or values.get("name") != "dvs_gesture":
            return values
        shape = values.get("input_shape")
        if "downsample" in values or values.get("sensor_size") is not None:
            return values
        if not (isinstance(shape, list) and len(shape) == 3 and all(isinstance(n, int) and n > 0 for n in shape)):
            return values  # reported with the field itself, or by `_is_consistent`
        height, width = DVS_GESTURE_SENSOR
        downsample = height // shape[1]
        if (shape[1] * downsample, shape[2] * downsample) == (height, width):
            return {**values, "downsample": downsample}
        return values

    @model_validator(mode="after")
    def _is_consistent(self) -> DatasetSpec:
        if self.input_shape[0] != 2:
            raise ValueError(f"input_shape {self.input_shape}: the first number is polarities and must be 2")
        if self.name == "digits" and (self.path or self.test_path):
            raise ValueError("path and test_path are for name: folder; digits are embedded")
        if self.test_path and self.name != "folder":
            raise ValueError(f"test_path {self.test_path}: is for name: folder; {self.name} has its own")
        if self.name in ("digits", "array") and (self.downsample != 1 or self.sensor_size is not None):
            raise ValueError(
                f"downsample and sensor_size are for recordings; the simulated camera of {self.name} records at "
                f"input_shape {self.input_shape} itself"
            )
        self._check_sensor()
        return self

    def _check_sensor(self) -> None:
        (height, width), (seen_height, seen_width) = self.sensor, self.field_of_view
        if seen_height > height or seen_width > width:
            raise ValueError(
                f"input_shape {self.input_shape} with downsample {self.downsample} needs {seen_height}x{seen_width} "
                f"pixels (height x width), the sensor has {height}x{width}; lower input_shape or downsample"
            )
        if self.name == "dvs_gesture" and (height, width) != DVS_GESTURE_SENSOR:
            raise ValueError(f"sensor_size {self.sensor_size}: recordings of DVS Gesture have [128, 128]")
        # Never by accident: nine tenths of the picture would be lost without a word.
        if self.name == "dvs_gesture" and self.sensor_size is None and (seen_height, seen_width) != (height, width):
            raise ValueError(
                f"input_shape {self.input_shape} with downsample {self.downsample} shows {seen_height}x{seen_width} of "
                f"{height}x{width} pixels; set input_shape to [2, 32, 32] and downsample to 4, or sensor_size to "
                f"[128, 128] if only the centre is wanted"
            )
        if self.name == "folder" and (height > BIN_HEIGHT or width > BIN_WIDTH):
            raise ValueError(
                f"input_shape {self.input_shape} with downsample {self.downsample} means a sensor of {height}x{width} "
                f"pixels; recordings in .bin format have at most {BIN_HEIGHT} rows and {BIN_WIDTH} columns"
            )
