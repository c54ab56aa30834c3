"""The `Vocabulary` type for class tables of datasets, and coarser views of vocabularies.

A view reduces verbs to whether a pair interacts at all, or to its object. As interactiveness (TIN) needs no verbs, a
model of it can be trained on datasets with different verbs: labels are read in their own vocabulary and then mapped to
the view by `verb_map`.
"""

import dataclasses
import functools

import numpy as np
from jaxtyping import Int


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """Objects, verbs and their valid combinations.

    There are two styles. *HOI style* (HICO-DET): `hois` lists the evaluated (verb, object) classes. *Action style*
    (V-COCO): a verb is an (action, role) combination or an action without object, `actions` is not empty, and
    `verb_action[v]` and `verb_role[v]` are the action of the verb and the slot of its role (-1: the verb has no
    object).

    Attributes:
      name: name for `get_vocabulary`.
      objects, verbs: names by index.
      human_class: index of `person` in `objects`.
      hois: (verb, object) per HOI class; empty in action style.
      train_counts: training instances per HOI class (from a fixed table, never recounted); rare means < 10.
      no_interaction: index of the verb for "no interaction", or -1.
      actions: action names; action_roles: role names of each action (one or two, or none).
      verb_action, verb_role: see above.
      valid_verb_object: pairs (verb, object) allowed in action style; empty = all.
      whole_image: classes are activities of whole images (MPII), with one verb each and a meaningless object.
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
    def hoi_pairs(self) -> np.ndarray:
        """`hois` as an array, [C, 2] int32: verb and object of each HOI class."""
        return np.asarray(self.hois, np.int32).reshape(-1, 2)

    @functools.cached_property
    def hoi_table(self) -> np.ndarray:
        """HOI class of each verb and object, [V, objects] int32; -1 for combinations that do not exist."""
        table = np.full((len(self.verbs), len(self.objects)), -1, np.int32)
        for hoi, (verb, obj) in enumerate(self.hois):
            table[verb, obj] = hoi
        return table

    @functools.cached_property
    def verb_object_mask(self) -> np.ndarray:
        """Combinations that can occur, [V, objects] bool."""
        if self.hois:
            return self.hoi_table >= 0
        mask = np.zeros((len(self.verbs), len(self.objects)), bool)
        for verb, obj in self.valid_verb_object:
            mask[verb, obj] = True
        return mask if self.valid_verb_object else np.ones_like(mask)

    @functools.cached_property
    def rare(self) -> np.ndarray:
        """HOI classes with fewer than 10 training instances, [C] bool."""
        return np.asarray(self.train_counts) < 10

    def verb_words(self, verb: int) -> str:
        """A verb in readable form, such as "talk on phone", without the role at the end of its name."""
        name = self.actions[self.verb_action[verb]] if self.actions else self.verbs[verb]
        return name.replace("_", " ")

    def hoi_name(self, hoi: int) -> str:
        """Name of an HOI class, "verb object", or the activity."""
        verb, obj = self.hois[hoi]
        return self.verbs[verb] if self.whole_image else f"{self.verbs[verb]} {self.objects[obj]}"


def interactive_view(name: str, base: Vocabulary) -> Vocabulary:
    """View with verbs "no_interaction" and "interact" for every object of `base`."""
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
    """View with a single verb, so that classes are objects, for training on object classes without verbs."""
    return Vocabulary(
        name=name,
        objects=base.objects,
        verbs=("has",),
        human_class=base.human_class,
        hois=tuple((0, obj) for obj in range(len(base.objects))),
    )


def verb_map(source: Vocabulary, view: Vocabulary) -> Int[np.ndarray, " verbs"]:
    """Verb of the view for every verb of `source`.

    Raises:
      ValueError: `view` is not a view, or its objects are not those of `source`.
    """
    if view.objects != source.objects:
        raise ValueError(f"{view.name!r} and {source.name!r} do not have the same objects")
    if view.verbs == ("has",):
        return np.zeros(len(source.verbs), np.int32)
    if view.verbs == ("no_interaction", "interact"):
        return (np.arange(len(source.verbs)) != source.no_interaction).astype(np.int32)
    raise ValueError(f"{view.name!r} is not a view to which labels of {source.name!r} can be mapped")
