"""The only place that imports Lava: its processes, the network built from them, and the runner."""

import multiprocessing
import sys

if "lava.magma.runtime.message_infrastructure.multiprocessing" not in sys.modules:
    # Importing that module calls set_start_method("fork"), which fails once anything else (a thread pool, a progress
    # bar) has settled on a start method. Unsettle it first.
    multiprocessing.set_start_method(None, force=True)
