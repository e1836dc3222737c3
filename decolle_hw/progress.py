"""What people see while they wait: bars on a terminal, plain lines in a pipe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from decolle_hw.console import say_progress, shows_bars, timed

if TYPE_CHECKING:
    from decolle_hw.training.train import EpochRecord

Report = Callable[[int, int], None]
MANY = 1000  # recordings, from which on reading them is worth a line in a pipe: seconds, before the first epoch begins


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _bars(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


@contextmanager
def counting(console: Console, what: str) -> Iterator[Report]:
    """A callback (done, total): a bar on a terminal; elsewhere one line at the start."""
    if not shows_bars(console):
        say_progress(console, f"{what} ...")
        with timed(what):
            yield lambda done, total: None
        return
    with timed(what), _bars(console) as bars:
        task = bars.add_task(what, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


@contextmanager
def working(console: Console, what: str) -> Iterator[None]:
    """For work that cannot be counted: a spinner on a terminal, one line elsewhere."""
    if not shows_bars(console):
        say_progress(console, f"{what} ...")
        with timed(what):
            yield
        return
    with timed(what), console.status(Text(what)):
        yield


class TrainingProgress:
    """A `training.train.Watcher`: bars and the latest epoch on a terminal, a line per epoch in a pipe."""

    def __init__(self, console: Console, epochs: int) -> None:
        self.console = console
        self.epochs = epochs
        self.bars = _bars(console)
        self.moves = shows_bars(console)
        self.said_reading = False
        if self.moves:
            self.whole = self.bars.add_task("reading", total=None)
            self.part = self.bars.add_task("epoch", total=None, visible=False)

    def __enter__(self) -> TrainingProgress:
        if self.moves:
            self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.moves:
            self.bars.stop()

    def reading(self, done: int, total: int) -> None:
        if self.moves:
            self.bars.update(self.whole, description="reading recordings", completed=done, total=total)
        elif not self.said_reading and total >= MANY and done < total:
            self.said_reading = True
            say_progress(self.console, f"reading {total} recordings ...")

    def batch(self, epoch: int, done: int, total: int) -> None:
        if self.moves:
            self.bars.update(self.whole, description="training", completed=epoch, total=self.epochs)
            self.bars.update(self.part, description=f"epoch {epoch + 1}", completed=done, total=total, visible=True)

    def epoch(self, record: EpochRecord) -> None:
        if self.moves:
            self.bars.update(self.whole, completed=record.epoch)
        say_progress(self.console, epoch_line(record, self.epochs))

    def note(self, text: str) -> None:
        self.console.print(text, soft_wrap=True)


def epoch_line(record: EpochRecord, epochs: int) -> str:
    """All figures of an epoch; those in a row are of the layers, from input to output."""
    accuracy = " ".join(f"{100 * share:5.1f}" for share in record.test_accuracy)
    loss = " ".join(f"{value:.4f}" for value in record.loss)
    rates = " ".join(f"{rate:.3f}" for rate in record.test_firing_rate)
    learning_rates = " ".join(f"{rate:.3g}" for rate in dict.fromkeys(record.learning_rate))  # mostly one for all
    return (
        f"epoch {record.epoch:3d}/{epochs}  test accuracy {accuracy} %  firing rate {rates}  loss {loss}  "
        f"lr {learning_rates}  {record.seconds:.1f} s, {record.recordings_per_second:.0f} recordings/s"
    )
