"""Experiments of learning on chip: few-shot, drift of the sensor, from scratch, and classes one after the other.

Each is a schedule of recordings, with and without a target, that a network lives through; nothing else is done to it.
The same schedule runs in the reference, many seeds side by side, or in Lava, one seed after another.
"""
