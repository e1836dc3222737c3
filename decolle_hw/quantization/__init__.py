"""From a trained float network to integers: the only part of the compiler that needs torch and the simulator."""
