"""Runs an artifact in lava-dl where decolle_hw cannot be imported: `python netx_alone.py NET.net SPIKES.npy OUT.npy`.

SPIKES: (steps on chip, inputs). OUT: (steps on chip, neurons) spikes of the last layer.
"""

import sys


class Absent:
    """As if this package were not installed."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] == "decolle_hw":
            raise ModuleNotFoundError(name)


sys.meta_path.insert(0, Absent)


def main(artifact: str, given: str, out: str) -> None:
    import numpy as np
    from lava.lib.dl.netx.hdf5 import Network
    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.core.run_configs import Loihi2SimCfg
    from lava.proc.io.sink import RingBuffer as Sink
    from lava.proc.io.source import RingBuffer as Source

    spikes_TI = np.load(given)
    network = Network(net_config=artifact, reset_interval=len(spikes_TI), reset_offset=1)
    source = Source(data=spikes_TI.T.astype(np.int32))
    source.s_out.connect(network.inp)
    sink = Sink(shape=network.out.shape, buffer=len(spikes_TI))
    network.out.connect(sink.a_in)
    network.run(RunSteps(len(spikes_TI)), Loihi2SimCfg(select_tag="fixed_pt"))
    np.save(out, sink.data.get().T)
    network.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
