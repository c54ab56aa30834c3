"""HOI-W (PIC challenge 2019): 11 objects and ten verbs, numbered from 1 in its files.

Some published code lists document and computer the other way round; the verbs that go with the boxes decide: number 10
is played with as a computer, number 11 is held and read.
"""

from hoi_jax.vocab.tables import Vocabulary

HOI_W = Vocabulary(
    name="hoi_w",
    objects=(
        "person", "cellphone", "cigarette", "drink", "food", "bicycle", "motorcycle", "horse", "ball", "computer",
        "document",
    ),
    verbs=("smoke", "call", "play_cellphone", "eat", "drink", "ride", "hold", "kick", "read", "play_computer"),
    human_class=0,
)  # fmt: skip
