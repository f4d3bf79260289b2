"""Inversion: the state of a generator that explains a picture, one problem and one solver.

To read in this order: `solver` (the problem, and what is done about it), `method` (what a YAML says), `spaces` (what is
optimised, and the picture that it makes), `terms` (what it is compared by), `start`, then `loop` with `schedules` and
`best` (the descent, which every other optimisation of the project uses too).
"""
