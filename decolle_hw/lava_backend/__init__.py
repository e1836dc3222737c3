"""The only place that imports Lava: its processes, the network built from them, and the runner."""

import multiprocessing
import sys

if "lava" not in sys.modules:
    # Importing Lava calls set_start_method("fork"), which fails once anything else (a thread pool, a progress bar)
    # has settled on a start method. Unsettle it first.
    multiprocessing.set_start_method(None, force=True)
