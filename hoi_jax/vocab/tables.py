"""The `Vocabulary` type of every dataset's class table, and coarser views of one.

Views tell what interacts at all, or which object a pair is about. Interactiveness (TIN) needs no verb, so that datasets
with different verbs can be learned from together: their labels are read in the vocabulary they were written in and then
collapsed by `verb_map`.
"""

import dataclasses
import functools

import numpy as np
from jaxtyping import Int


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """Objects, verbs and their valid combinations.

    Two styles share this type. *HOI style* (HICO-DET): `hois` lists the evaluated (verb, object) classes.
    *Action style* (V-COCO): a verb is an (action, role) combination or an action without object, `actions` is not
    empty, and `verb_action[v]`, `verb_role[v]` lead from the verb back to the action and the slot of its role
    (-1: the verb has no object).

    Attributes:
      name: as in `get_vocabulary`.
      objects, verbs: names by index.
      human_class: index of `person` in `objects`.
      hois: (verb, object) per HOI class; empty in action style.
      train_counts: training instances per HOI class (from a fixed table, never recounted); rare means < 10.
      no_interaction: index of the verb that says "does not interact", or -1.
      actions: action names; action_roles: role names of each action (one or two, or none).
      verb_action, verb_role: see above.
      valid_verb_object: pairs (verb, object) allowed in action style; empty means "all".
      whole_image: classes are activities of whole images (MPII): one verb each, the object means nothing.
    """

    name: str
    objects: tuple[str, ...]
    verbs: tuple[str, ...]
    human_class: int
    hois: tuple[tuple[int, int], ...] = ()
    train_counts: tuple[int, ...] = ()
    no_interaction: int = -1
    actions: tuple[str, ...] = ()
    action_roles: tuple[tuple[str, ...], ...] = ()
    verb_action: tuple[int, ...] = ()
    verb_role: tuple[int, ...] = ()
    valid_verb_object: tuple[tuple[int, int], ...] = ()
    whole_image: bool = False

    @functools.cached_property
    def hoi_table(self) -> np.ndarray:
        """[V, objects] int32: the HOI class of a verb and an object, -1 where the combination does not exist."""
        table = np.full((len(self.verbs), len(self.objects)), -1, np.int32)
        for hoi, (verb, obj) in enumerate(self.hois):
            table[verb, obj] = hoi
        return table

    @functools.cached_property
    def verb_object_mask(self) -> np.ndarray:
        """[V, objects] bool: combinations that can occur."""
        if self.hois:
            return self.hoi_table >= 0
        mask = np.zeros((len(self.verbs), len(self.objects)), bool)
        for verb, obj in self.valid_verb_object:
            mask[verb, obj] = True
        return mask if self.valid_verb_object else np.ones_like(mask)

    @functools.cached_property
    def rare(self) -> np.ndarray:
        """[C] bool: fewer than 10 training instances."""
        return np.asarray(self.train_counts) < 10

    def verb_words(self, verb: int) -> str:
        """A verb as people read it: "talk on phone", without the role that its name may end with."""
        name = self.actions[self.verb_action[verb]] if self.actions else self.verbs[verb]
        return name.replace("_", " ")

    def hoi_name(self, hoi: int) -> str:
        """ "verb object" of a HOI class, or the activity."""
        verb, obj = self.hois[hoi]
        return self.verbs[verb] if self.whole_image else f"{self.verbs[verb]} {self.objects[obj]}"


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
