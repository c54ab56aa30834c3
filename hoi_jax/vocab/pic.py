"""PIC v2.0 (PIC challenge 2019): 143 classes of things and 30 relations of people to them.

Its files number both from 1. The classes number the semantic maps; 0 there is "nothing". (The first version of PIC
orders its relations otherwise.)
"""

from hoi_jax.vocab.tables import Vocabulary

PIC = Vocabulary(
    name="pic",
    objects=(
        "human", "hat", "racket", "plant", "flag", "food", "cushion", "tent", "stick", "bag", "pot", "flower",
        "rug", "blackboard", "window", "phone", "car", "ball", "PC", "instrument", "fan", "rope", "electronics",
        "kitchen_island", "pillar", "horse", "basket", "book", "poke", "lamp", "guardrail", "floor", "scissor",
        "stairs", "kitchenware", "decoration", "document", "pen", "curtain", "microphone", "bottle", "towel",
        "brand", "digital", "tableware", "certificate", "box", "barrel", "umbrella", "bicycle", "pillow", "luggage",
        "tool", "toy", "cup", "cigarette", "door", "stalls", "money_coin", "building", "cabin", "ice", "stone",
        "track", "train", "prop", "road", "street_light", "body_building_apparatus", "military_equipment", "glass",
        "parachute", "ground", "snow", "amusement_facilities", "motorcycle", "net", "sidewalk", "shovel",
        "property", "wood", "beach", "water", "paddle", "straw", "skis", "field", "animal", "bridge", "bench",
        "grass", "mountain", "surfboard", "wall", "aircraft", "bulletin", "tree", "hoe", "bucket", "steps",
        "swimming_things", "fishing_rod", "table", "skateboard", "laptop", "radiator", "refrigerator",
        "painting_or_poster", "emblem", "stool", "handcart", "nameplate", "showcase", "lighter", "sculpture",
        "shelf", "chair", "cabinet", "clothes", "sink", "apparel", "gun", "stand", "sofa", "bed", "sled", "bird",
        "cat", "pram", "plate", "blender", "remote_control", "vase", "toaster", "boat", "blanket", "camel", "dog",
        "vegetation", "display", "banner", "elephant", "squirrel",
    ),
    verbs=(
        "in front of", "behind", "talk", "next to", "hold", "drink", "sit on", "stand on", "look", "touch", "wear",
        "carry", "in", "others", "use", "lie down", "eat", "hit", "with", "drive", "ride", "squat", "pull",
        "on the top of", "on", "kick", "throw", "play", "push", "feed",
    ),
    human_class=0,
)  # fmt: skip
