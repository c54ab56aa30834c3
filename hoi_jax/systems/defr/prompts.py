"""A sentence for every class: what the text encoder reads (section 3.2).

Three styles. "paper": "a person riding a bicycle". "released_like": the authors' list is edited by hand and mostly has
the base form and a definite article, "a person ride the bicycle"; this style follows those habits, not each line.
"released": the authors' 600 lines for HICO's classes themselves.
"""

from hoi_jax.settings import choice
from hoi_jax.systems.defr.released_prompts import OTHER_BEGINNINGS, VERBS, WITHOUT_ARTICLE, WORDINGS
from hoi_jax.vocab.tables import Vocabulary

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
    """ "hop on" -> "hopping on": the first word inflected, what follows kept."""
    first, *rest = words(verb).split(" ")
    if first.endswith("ie"):
        first = first[:-2] + "y"
    elif first.endswith("e") and len(first) > 2 and first[-2] not in _VOWELS:
        first = first[:-1]
    elif first in _DOUBLED:
        first += first[-1]
    return " ".join([f"{first}ing", *rest])


def with_article(noun: str) -> str:
    """ "apple" -> "an apple"; plurals and "broccoli" stay bare."""
    noun = words(noun)
    if noun in _WITHOUT_ARTICLE:
        return noun
    return f"{'an' if noun[0] in _VOWELS else 'a'} {noun}"


def hoi_prompt(verb: str | None, obj: str | None, *, human: str = "person", style: str = "paper") -> str:
    """The sentence of a verb with an object.

    Args:
      verb: None for "does nothing with it". obj: None for an action without object.
      human: the object that is a person, "another person" here.
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
      ValueError: style "released" for other classes than HICO's 600.
    """
    choice("style", style, STYLES)
    if style == "released" and (len(vocabulary.hois) != _RELEASED_CLASSES or "hop_on" not in vocabulary.verbs):
        raise ValueError(f"style 'released' is of HICO's 600 classes, {vocabulary.name!r} has others: 'released_like'")
    if vocabulary.whole_picture:
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
