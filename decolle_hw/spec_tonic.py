"""Tonic's data sets as a description may name them (`dataset.name: tonic:NAME`): sensors, and which have no classes.

Kept here as a table, because reading a description must not import tonic (and with it torch); a test compares it with
tonic's own classes.
"""

from __future__ import annotations

from typing import NamedTuple

PREFIX = "tonic:"


class TonicDataset(NamedTuple):
    """What a description must know of one of tonic's data sets before anything is read."""

    sensor: tuple[int, int]  # height, width; a cochlea has one row of channels
    polarities: int = 2
    first_event: bool = True  # time counts from the first event; else from the recording's own zero
    varies: bool = False  # recordings have different sizes, and this is the largest


TONIC_DATASETS: dict[str, TonicDataset] = {
    "ASLDVS": TonicDataset((180, 240)),
    "CIFAR10DVS": TonicDataset((128, 128)),
    "DVSGesture": TonicDataset((128, 128)),
    "DVSLip": TonicDataset((128, 128)),
    "NCALTECH101": TonicDataset((180, 240), first_event=False, varies=True),
    "NMNIST": TonicDataset((34, 34), first_event=False),
    "NTIDIGITS18": TonicDataset((1, 64), polarities=1, first_event=False),
    "POKERDVS": TonicDataset((35, 35)),
    "SHD": TonicDataset((1, 700), polarities=1, first_event=False),
    "SMNIST": TonicDataset((1, 99), polarities=1, first_event=False),
    "SSC": TonicDataset((1, 700), polarities=1, first_event=False),
}

TONIC_REFUSED: dict[str, str] = {
    "DAVISDATA": "has poses and images, but no classes",
    "DSEC": "has disparity and optical flow, but no classes",
    "EBSSA": "has bounding boxes of satellites, but no classes",
    "MVSEC": "has depth and poses, but no classes",
    "NERDD": "has bounding boxes of drones, but no classes",
    "ThreeET_Eyetracking": "has positions of pupils, but no classes",
    "TUMVIE": "has poses, but no classes",
    "VPR": "has positions of a car, but no classes",
}


def tonic_name(name: str) -> str | None:
    """``NMNIST`` of ``tonic:NMNIST``; None for a data set that is not tonic's."""
    return name[len(PREFIX) :] if name.startswith(PREFIX) else None
