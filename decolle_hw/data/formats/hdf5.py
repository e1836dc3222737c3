"""Events in HDF5 (``.h5``, ``.hdf5``), in the layouts that are in use.

    events/{x, y, t, p}    DSEC, with t_offset beside it; also under the names of `columns.NAMES`
    CD/events              Metavision: one array of records, often packed with Prophesee's ECF filter
    events                 one array of records
    x, y, t, p             at the top

A file of many recordings, such as those of SHD and SSC (spikes/times, spikes/units), is left to tonic.
"""

# E events

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from decolle_hw.data.formats.arrays import blocks_of_columns
from decolle_hw.data.formats.columns import NAMES, REMEDY, find_columns, missing_notes
from decolle_hw.data.formats.events import BLOCK_BYTES, EVENTS, Block, Opened
from decolle_hw.data.formats.prophesee import GEOMETRY
from decolle_hw.errors import DataError

TITLE = "HDF5"
LAYOUTS = "events/{x,y,t,p}, CD/events, events or x, y, t, p"
GROUPS = ("CD/events", "events", "/")
ECF_FILTER = 0x8ECF
OFFSET = "t_offset"  # us, of all times
BLOCK_EVENTS = BLOCK_BYTES // EVENTS.itemsize


def open_hdf5(stream: BinaryIO, place: str) -> Opened:
    """Raises `DataError` for another layout, a damaged file and a filter that is not installed."""
    import h5py

    try:
        file = h5py.File(os.fsencode(place), "r")
        opened = _look(file, place)
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise _damaged(place, error) from None
    if opened is not None:
        return opened
    if "spikes/times" in file and "spikes/units" in file:
        raise DataError(
            f"{place}: holds many recordings (spikes/times of SHD or SSC); set dataset.name to 'tonic:SHD' or "
            f"'tonic:SSC'"
        )
    listed = ", ".join(sorted(file)) or "nothing"
    raise DataError(f"{place}: holds {listed} and no events in a known layout ({TITLE}: {LAYOUTS}); rewrite or move it")


def _look(file: Any, place: str) -> Opened | None:
    for name in GROUPS:
        found = file.get(name)
        if found is None:
            continue
        where = f"{place}, {name}"
        if hasattr(found, "keys"):
            arrays = {key: found[key] for key in found if len(getattr(found[key], "shape", ())) == 1}
            if name == "/" and not arrays.keys() & set(NAMES["t"]):
                continue
            fields = find_columns(arrays, where)
            columns = {column: arrays[field] for column, field in fields.items()}
            lengths = {column: len(array) for column, array in columns.items()}
            if len(set(lengths.values())) > 1:
                listed = ", ".join(f"{column}: {length}" for column, length in lengths.items())
                raise DataError(f"{where}: its columns differ in length ({listed}); mend or remove it")
            parts = _of_columns(columns, lengths["t"])
        elif found.dtype.names is not None and found.ndim == 1:
            fields = find_columns(found.dtype.names, where)
            columns = {"all": found}
            parts = _of_records(found, fields)
        else:
            raise DataError(f"{where}: is an array of {found.dtype} and shape {found.shape} without fields; {REMEDY}")
        for array in columns.values():
            _require_filters(array, where)
        offset = int(file[OFFSET][()]) if OFFSET in file else 0
        blocks = _blocks(file, parts, offset, place)
        return Opened("hdf5", blocks, _sensor_size(file, found), missing_notes(fields))
    return None


def _of_columns(columns: Mapping[str, Any], events: int) -> Iterator[Mapping[str, NDArray[Any]]]:
    for first in range(0, events, BLOCK_EVENTS):
        yield {column: array[first : first + BLOCK_EVENTS] for column, array in columns.items()}


def _of_records(records: Any, fields: Mapping[str, str]) -> Iterator[Mapping[str, NDArray[Any]]]:
    for first in range(0, len(records), BLOCK_EVENTS):
        rows_E = records[first : first + BLOCK_EVENTS]
        yield {column: rows_E[field] for column, field in fields.items()}


def _blocks(file: Any, parts: Iterator[Mapping[str, NDArray[Any]]], offset: int, place: str) -> Iterator[Block]:
    try:
        with file:
            for block in blocks_of_columns(parts, place):
                block.events["t"] += offset
                yield block
    except (OSError, RuntimeError) as error:
        raise _damaged(place, error) from None


def _require_filters(array: Any, where: str) -> None:
    import h5py

    pipeline = array.id.get_create_plist()
    for index in range(pipeline.get_nfilters()):
        number = pipeline.get_filter(index)[0]
        if not h5py.h5z.filter_avail(number):
            what = "Prophesee's hdf5_ecf plugin" if number == ECF_FILTER else f"the plugin of filter {number}"
            raise DataError(
                f"{where}: is packed with the HDF5 filter {number}, which is not installed; install {what} and set "
                f"$HDF5_PLUGIN_PATH, or convert it (metavision_file_to_dat)"
            )


def _sensor_size(file: Any, found: Any) -> tuple[int, int] | None:
    """(height, width) from an attribute geometry = 'WIDTHxHEIGHT', or from height and width."""
    for holder in (found, file):
        about = holder.attrs
        geometry = about.get("geometry", b"")
        text = geometry.decode("ascii", "replace") if isinstance(geometry, bytes) else str(geometry)
        if (match := GEOMETRY.fullmatch(text.strip())) is not None:
            return int(match.group(2)), int(match.group(1))
        if all(np.ndim(about.get(key, "")) == 0 and str(about.get(key, "")).isdecimal() for key in ("height", "width")):
            return int(about["height"]), int(about["width"])
    return None


def _damaged(place: str, error: Exception) -> DataError:
    reason = " ".join(str(error).split()).strip("'")
    return DataError(f"{place}: is a damaged file of HDF5: {reason}; copy it again or remove it")
