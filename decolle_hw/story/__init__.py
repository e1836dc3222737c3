"""`decolle-hw demo MODEL`: the whole story of a network, from learning in floats to a new class learned on chip.

`tell.tell_story` runs the steps in their order; `table`, `contents` and `animation` say, write and draw what came of
it.
"""
