"""Coarser views of other vocabularies: what interacts at all, and which object a pair is about.

Interactiveness (TIN) needs no verb, so that datasets with different verbs can be learned from together: their labels
are read in the vocabulary they were written in and then collapsed by `verb_map`.
"""

import numpy as np
from jaxtyping import Int

from hoi_jax.vocab.tables import Vocabulary


def interactive_view(name: str, base: Vocabulary) -> Vocabulary:
    """Verbs "no_interaction" and "interact" with every object of `base`."""
    objects = range(len(base.objects))
    return Vocabulary(
        name=name,
        objects=base.objects,
        verbs=("no_interaction", "interact"),
        human_class=base.human_class,
        hois=tuple((verb, obj) for obj in objects for verb in (0, 1)),
        no_interaction=0,
    )


def object_view(name: str, base: Vocabulary) -> Vocabulary:
    """One verb, so that a class is an object: teaches a network to tell objects, and nothing of what is done."""
    return Vocabulary(
        name=name,
        objects=base.objects,
        verbs=("has",),
        human_class=base.human_class,
        hois=tuple((0, obj) for obj in range(len(base.objects))),
    )


def verb_map(source: Vocabulary, view: Vocabulary) -> Int[np.ndarray, " verbs"]:
    """The view's verb of every verb of `source`.

    Raises:
      ValueError: `view` is not a view, or its objects are not those of `source`.
    """
    if view.objects != source.objects:
        raise ValueError(f"{view.name!r} and {source.name!r} do not have the same objects")
    if view.verbs == ("has",):
        return np.zeros(len(source.verbs), np.int32)
    if view.verbs == ("no_interaction", "interact"):
        return (np.arange(len(source.verbs)) != source.no_interaction).astype(np.int32)
    raise ValueError(f"{view.name!r} is no view that labels of {source.name!r} could be collapsed to")
