"""Where the authors' list of HICO's 600 sentences leaves the habits of style "released_like".

Source: `scripts/prompts.json` of drjinying/hts at a721034. What stands here are the wordings that no rule of
`prompts.py` yields, after the words "a person" unless the sentence begins otherwise; rules and table together give the
600 lines exactly (`tests/systems/test_defr_texts.py` compares their digest).
"""

WITHOUT_ARTICLE = frozenset({"bicycle", "bird", "boat", "bottle", "skis"})
"""Objects without "a" in "a person and a ..."; only the airplane has "an"."""

VERBS = {"operate": "use", "hop_on": "get on"}
"""Verbs that the authors word differently throughout."""

OTHER_BEGINNINGS = ("a plane director ", "a pilot ", "a people ")

WORDINGS = {
    "direct airplane": "a plane director gives signal to the aircraft",
    "exit airplane": "getting off the airplane",
    "fly airplane": "a pilot flying the aircraft",
    "load airplane": "load luggage onto the airplane",
    "jump bicycle": "jump onto the bicycle",
    "park bicycle": "parking the bicycle",
    "exit boat": "getting off the boat",
    "jump boat": "jump off the boat",
    "launch boat": "start the engine of the boat",
    "tie boat": "tie the boat up",
    "pour bottle": "pour water out of the bottle",
    "direct bus": "giving directions to the bus",
    "exit bus": "get off the bus",
    "load bus": "load onto the bus",
    "wave bus": "waving to the bus",
    "board car": "get on the car",
    "direct car": "point direction to the car",
    "hose car": "wash the car with hose",
    "dry cat": "dry a cat",
    "hold cow": "touching the cow",
    "lasso cow": "pull the cow",
    "jump horse": "jump from the horse",
    "load horse": "load onto the horse",
    "hop_on horse": "getting on the horse",
    "train horse": "training the horse",
    "greet person": "greet each other",
    "hold person": "holds the other person",
    "hug person": "a people hug",
    "tag person": "puts a name tag on a person",
    "teach person": "talking with a person",
    "hose potted_plant": "hose the potted plant",
    "wash sheep": "wash the sheep with water",
    "load train": "load onto the train",
    "cut apple": "cut the apple with knife",
    "buy banana": "buy banana",
    "stir bowl": "stir food in the bowl",
    "light cake": "light the candles on the cake",
    "read cell_phone": "look at the cellphone",
    "text_on cell_phone": "type text on the cellphone",
    "pour cup": "pour water from the cup",
    "control mouse": "use the mouse",
    "pick orange": "picking oranges",
    "pay parking_meter": "pay on the parking meter",
    "buy pizza": "buy pizza",
    "grind skateboard": "grind on the skateboard",
    "adjust skis": "adjust the ski bindings",
    "jump skis": "jump with the skis",
    "sip spoon": "sip from the spoon",
    "tie tie": "tie up the tie",
    "wear tie": "put on the tie",
    "brush_with toothbrush": "brush teeth with the toothbrush",
    "direct truck": "showing direction to the truck",
    "lose umbrella": "close the umbrella",
    "set umbrella": "put up the umbrella",
    "fill wine_glass": "fill the glass with wine",
    "hold wine_glass": "hold the glass",
    "sip wine_glass": "sip from the glass",
    "toast wine_glass": "hold up the glasses and toast",
    "lick wine_glass": "drink from the wine glass",
}
"""By verb and object, with a space between."""
