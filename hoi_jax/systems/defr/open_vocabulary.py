"""Classes given as text: a vocabulary and classifier rows for phrases that nobody trained on.

A phrase is a verb part and one of the objects that the detector knows: "riding a bicycle", "hold an umbrella".
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from hoi_jax.systems.defr.embeddings import TextEncoder, classifier_rows
from hoi_jax.systems.defr.prompts import words
from hoi_jax.vocab.tables import Vocabulary

_ARTICLES = frozenset({"a", "an", "the", "another", "some"})


def split_phrase(phrase: str, objects: Sequence[str]) -> tuple[str, int]:
    """("riding", index of bicycle) of "riding a bicycle"; the longest object name at the end of the phrase wins.

    Raises:
      ValueError: the phrase ends with no known object, or is nothing else.
    """
    parts = words(phrase.lower()).split()
    names = {tuple(words(name).split()): index for index, name in enumerate(objects)}
    for start in range(len(parts)):
        if tuple(parts[start:]) in names:
            verb = parts[: start - 1] if start and parts[start - 1] in _ARTICLES else parts[:start]
            if not verb:
                break
            return " ".join(verb), names[tuple(parts[start:])]
    known = ", ".join(sorted(map(words, objects)))
    raise ValueError(f"{phrase!r} is no verb with one of the objects at its end; objects: {known}")


def phrase_vocabulary(phrases: Sequence[str], base: Vocabulary) -> Vocabulary:
    """A vocabulary with one HOI class per phrase, in the order given, over the objects of `base`.

    Raises:
      ValueError: an unknown object, the same class twice, or no phrase at all.
    """
    pairs = [split_phrase(phrase, base.objects) for phrase in phrases]
    if not pairs or len(set(pairs)) != len(pairs):
        raise ValueError(f"no phrases, or one of them twice: {list(phrases)}")
    verbs = tuple(dict.fromkeys(verb for verb, _ in pairs))
    return Vocabulary(
        name="phrases",
        objects=base.objects,
        verbs=verbs,
        human_class=base.human_class,
        hois=tuple((verbs.index(verb), obj) for verb, obj in pairs),
    )


def phrase_rows(encoder: TextEncoder, phrases: Sequence[str], width: int) -> Float[np.ndarray, "phrases {width}"]:
    """Classifier rows of "a person PHRASE" for an image feature of `width` numbers.

    They mean something for an image tower that shares its space with the encoder: CLIP's own, trained further or not.
    """
    return classifier_rows(encoder, [f"a person {phrase.strip()}" for phrase in phrases], width)[0]
