"""HOI prediction on photographs: an off-the-shelf object detector and a verb prior, offline. An optional extra.

`detector` says what a detector is and has one; `darknet` runs its network; `packaged` finds weights inside an installed
package without running the package's code; `prior` names the exported checkpoints that need boxes alone. Only entry
points import this: nothing else in the library knows of it.
"""
