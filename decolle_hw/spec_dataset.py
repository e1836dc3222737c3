"""The `dataset` section: what is learned from, and how events become time steps."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from decolle_hw.section import Pixels, Section, Seed, Steps

BIN_HEIGHT, BIN_WIDTH = 240, 256  # one byte per coordinate in N-MNIST's .bin, and y = 240 marks a clock overflow


class CameraSpec(Section):
    """The simulated event camera of the embedded `digits` recordings."""

    contrast_threshold: float = Field(0.2, gt=0.0, description="change of log intensity that makes one event")
    noise_hz: float = Field(0.0, ge=0.0, description="spurious events per pixel and second")
    seed: Seed = Field(0, description="seed of scene jitter and noise")


class DatasetSpec(Section):
    """What is learned from, and how events become time steps."""

    name: Literal["digits", "folder"] = Field("digits", description="embedded digits, or a folder of recordings")
    path: str | None = Field(None, description="folder: FOLDER/<class>/<recording>.bin, or FOLDER/{train,test}")
    test_path: str | None = Field(None, description="folder with the test recordings, if it stands elsewhere")
    test_fraction: float = Field(0.2, gt=0.0, lt=1.0, description="held out per class where there is no test folder")
    input_shape: list[Pixels] = Field(
        default_factory=lambda: [2, 16, 16], min_length=3, max_length=3, description="polarities, height, width"
    )
    deltat: int = Field(1000, ge=1, le=10**9, description="length of a time step in microseconds")
    chunk_size_train: Steps = Field(300, description="steps of a recording used in training")
    chunk_size_test: Steps = Field(300, description="steps of a recording used in testing and on chip")
    camera: CameraSpec = CameraSpec()

    @model_validator(mode="after")
    def _is_consistent(self) -> DatasetSpec:
        if self.input_shape[0] != 2:
            raise ValueError(f"input_shape {self.input_shape}: the first number is polarities and must be 2")
        if self.name == "digits" and (self.path or self.test_path):
            raise ValueError("path and test_path are for name: folder; digits are embedded")
        if self.name == "folder" and (self.input_shape[1] > BIN_HEIGHT or self.input_shape[2] > BIN_WIDTH):
            raise ValueError(
                f"input_shape {self.input_shape}: recordings in .bin format have at most {BIN_HEIGHT} rows and "
                f"{BIN_WIDTH} columns"
            )
        return self
