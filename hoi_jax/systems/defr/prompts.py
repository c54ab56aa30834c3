"""Sentences for classes, the inputs of the text encoder (section 3.2).

There are three styles. "paper": "a person riding a bicycle". "released": the authors' 600 lines for HICO's classes
(`scripts/prompts.json` of drjinying/hts at a721034), which are edited by hand. "released_like": the base form and
definite article that most of these lines have, "a person ride the bicycle", for any classes.
`WORDINGS` are the released lines that follow no rule, without the words "a person" unless the sentence begins
otherwise; rules and table together give the 600 lines exactly (`tests/systems/test_defr_texts.py` compares their
digest).
"""

from hoi_jax.settings import choice
from hoi_jax.vocab.tables import Vocabulary

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
"""Wordings by "verb object"."""


STYLES = ("paper", "released_like", "released")
_RELEASED_CLASSES = 600
_DOUBLED = frozenset(
    "control cut drag flip hit hop hug pet run set sip sit spin stab stir stop tag zip".split()
)  # fmt: skip
_WITHOUT_ARTICLE = frozenset({"scissors", "skis", "broccoli"})
_VOWELS = "aeiou"


def words(name: str) -> str:
    """A class name as words."""
    return name.replace("_", " ").strip()


def ing_form(verb: str) -> str:
    """Inflect the first word of a verb phrase: "hop on" -> "hopping on"."""
    first, *rest = words(verb).split(" ")
    if first.endswith("ie"):
        first = first[:-2] + "y"
    elif first.endswith("e") and len(first) > 2 and first[-2] not in _VOWELS:
        first = first[:-1]
    elif first in _DOUBLED:
        first += first[-1]
    return " ".join([f"{first}ing", *rest])


def with_article(noun: str) -> str:
    """Prepend the indefinite article: "apple" -> "an apple"; plurals and "broccoli" have none."""
    noun = words(noun)
    if noun in _WITHOUT_ARTICLE:
        return noun
    return f"{'an' if noun[0] in _VOWELS else 'a'} {noun}"


def hoi_prompt(verb: str | None, obj: str | None, *, human: str = "person", style: str = "paper") -> str:
    """The sentence of a verb with an object.

    Args:
      verb: None for "no interaction".
      obj: None for an action without object.
      human: name of the object class of people, worded as "another person".
      style: see the module docstring.
    """
    choice("style", style, STYLES)
    if style == "released" and obj is not None:
        return _released_prompt(verb, obj, human)
    released = style != "paper"
    if obj is None:
        return "a person" if verb is None else f"a person {words(verb) if released else ing_form(verb)}"
    same = words(obj) == words(human)
    if verb is None:
        if same and released:
            return "a group of people"
        return "a person and another person" if same else f"a person and {with_article(obj)}"
    if released and verb == "race":
        return f"{with_article(obj)} racing"
    if released:
        return f"a person {words(verb)} {'another person' if same else f'the {words(obj)}'}"
    return f"a person {ing_form(verb)} {'another person' if same else with_article(obj)}"


def _released_prompt(verb: str | None, obj: str, human: str) -> str:
    """The authors' sentence of a class of HICO."""
    wording = WORDINGS.get(f"{verb} {obj}")
    if wording is not None:
        return wording if wording.startswith(OTHER_BEGINNINGS) else f"a person {wording}"
    noun = words(obj).replace("cell phone", "cellphone")
    if verb is None and words(obj) != words(human):
        article = "an " if noun == "airplane" else "a "
        return f"a person and {'' if noun in WITHOUT_ARTICLE else article}{noun}"
    if verb is None or verb == "race":
        return hoi_prompt(verb, obj, human=human, style="released_like")
    return f"a person {VERBS.get(verb, words(verb))} the {noun}{' with water' if verb == 'hose' else ''}"


def activity_prompt(name: str) -> str:
    """An MPII activity ("bicycling, mountain") as a sentence."""
    return f"a person {words(name)}"


def class_prompts(vocabulary: Vocabulary, style: str = "paper") -> tuple[str, ...]:
    """One sentence per class of DEFR: HOI classes, activities, or verbs with "something" in action style.

    Raises:
      ValueError: style "released" for classes other than HICO's 600.
    """
    choice("style", style, STYLES)
    if style == "released" and (len(vocabulary.hois) != _RELEASED_CLASSES or "hop_on" not in vocabulary.verbs):
        raise ValueError(
            f"style 'released' exists only for HICO's 600 classes, not for {vocabulary.name!r}; use 'released_like'"
        )
    if vocabulary.whole_image:
        return tuple(map(activity_prompt, vocabulary.verbs))
    human = vocabulary.objects[vocabulary.human_class]
    if vocabulary.hois:
        return tuple(
            hoi_prompt(
                None if verb == vocabulary.no_interaction else vocabulary.verbs[verb],
                vocabulary.objects[obj],
                human=human,
                style=style,
            )
            for verb, obj in vocabulary.hois
        )
    sentences = []
    for action, role in zip(vocabulary.verb_action, vocabulary.verb_role, strict=True):
        sentence = hoi_prompt(vocabulary.actions[action], None, style=style)
        preposition = {"instr": " with something", "obj": " something"}
        sentences.append(sentence + (preposition[vocabulary.action_roles[action][role]] if role >= 0 else ""))
    return tuple(sentences)
