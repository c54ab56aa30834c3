"""A sentence for every class: what the text encoder reads (section 3.2).

Two styles. "paper": "a person riding a bicycle". "released_like": the authors' list is edited by hand and mostly has
the base form and a definite article, "a person ride the bicycle"; this style follows those habits, not each line.
"""

from hoi_jax.settings import choice
from hoi_jax.vocab.tables import Vocabulary

STYLES = ("paper", "released_like")
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
    released = style == "released_like"
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


def activity_prompt(name: str) -> str:
    """An MPII activity ("bicycling, mountain") as a sentence."""
    return f"a person {words(name)}"


def class_prompts(vocabulary: Vocabulary, style: str = "paper") -> tuple[str, ...]:
    """One sentence per class of DEFR: HOI classes, activities, or verbs with "something" in action style."""
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
