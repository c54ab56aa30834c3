"""HOI prediction on photographs: an off-the-shelf object detector and a verb prior, offline. An optional extra.

`detector` has the detector interface and an implementation; `darknet` runs its network; `packaged` finds weights inside
an installed package without running the package's code; `prior` has the names of the exported checkpoints that need
only boxes. Only entry points import this package.
"""
