"""Labels of the sampled pairs: HOI classes in HOI style, verbs in action style."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from hoi_jax.system import Batch
from hoi_jax.systems.tin.config import TinConfig
from hoi_jax.systems.tin.sampling import Sample
from hoi_jax.vocab.tables import Vocabulary


class Targets(NamedTuple):
    """Labels of one image with K outputs, P pairs and S positive places.

    Attributes:
      pair, pair_known: [P, K] labels of object and spatial streams, and whether they are used.
      human, human_known: [S, K] labels of the human stream on positives, and whether they are used.
      interactive, interactive_known: [P] labels of P, and whether they are used.
    """

    pair: Array
    pair_known: Array
    human: Array
    human_known: Array
    interactive: Array
    interactive_known: Array


def _hoi_labels(
    verbs: Array, known: Array, object_class: Array, vocabulary: Vocabulary
) -> tuple[Bool[Array, "pairs hois"], Bool[Array, "pairs hois"]]:
    """(labels, known) of HOI classes from the verbs of pairs; classes of other objects are known negatives."""
    verb_of_hoi, object_of_hoi = np.asarray(vocabulary.hois, np.int32).T
    same_object = object_class[:, None] == object_of_hoi[None]
    return verbs[:, verb_of_hoi] & same_object, known[:, verb_of_hoi] | ~same_object


def hoi_targets(sample: Sample, example: Batch, vocabulary: Vocabulary, config: TinConfig) -> Targets:
    """Targets in HOI style: a negative is "no_interaction" with its detected object class, if that HOI class exists."""
    verbs = jnp.take(example["pairs_verbs"], sample.truth, axis=0) & sample.positive[:, None]
    known = jnp.take(example["pairs_verbs_known"], sample.truth, axis=0) | sample.negative[:, None]
    if vocabulary.no_interaction >= 0:
        is_none = np.arange(len(vocabulary.verbs)) == vocabulary.no_interaction
        verbs |= sample.negative[:, None] & is_none[None]
    labels, labels_known = _hoi_labels(verbs, known, sample.object_class, vocabulary)
    places = config.sampling.places
    pair_known = labels_known & sample.has_object[:, None]
    interactive, interactive_known = _interactive(verbs, known, sample, vocabulary, config)
    human, human_known = labels[:places], labels_known[:places]
    human_known = human_known & sample.positive[:places, None]
    return Targets(labels, pair_known, human, human_known, interactive, interactive_known)


def action_targets(sample: Sample, example: Batch, vocabulary: Vocabulary, config: TinConfig) -> Targets:
    """Targets in action style: all actions of the person for the human stream, the verbs of the pair for the others.

    Verbs without object are used in the human stream only. A negative has no verb and is used in the spatial stream.
    """
    verbs = jnp.take(example["pairs_verbs"], sample.truth, axis=0) & sample.positive[:, None]
    known = jnp.take(example["pairs_verbs_known"], sample.truth, axis=0) | sample.negative[:, None]
    takes_object = np.asarray(vocabulary.verb_role) >= 0
    pair_known = known & sample.has_object[:, None] & takes_object[None]
    interactive, interactive_known = _interactive(verbs, known, sample, vocabulary, config)
    human, human_known = _person_labels(sample, example, vocabulary, config.sampling.places)
    return Targets(verbs & takes_object[None], pair_known, human, human_known, interactive, interactive_known)


def _interactive(
    verbs: Array, known: Array, sample: Sample, vocabulary: Vocabulary, config: TinConfig
) -> tuple[Bool[Array, " pairs"], Bool[Array, " pairs"]]:
    """(interactive, known): a pair interacts iff it has a verb other than "no interaction".

    With `no_interaction_positive`, any verb counts.
    """
    real = np.arange(len(vocabulary.verbs)) != vocabulary.no_interaction
    if config.interactiveness.no_interaction_positive:
        real = np.ones_like(real)
    interactive = jnp.any(verbs & real[None], axis=-1) & sample.positive
    # A pair without a real verb is known to be not interactive only if all real verbs are labelled.
    settled = jnp.all(known | ~real[None], axis=-1)
    return interactive, sample.has_object & (interactive | settled)


def _person_labels(sample: Sample, example: Batch, vocabulary: Vocabulary, places: int) -> tuple[Array, Array]:
    """(actions, known), [S, V] each, of the person of each positive place.

    An action with two roles (cut with an instrument, cut an object) is positive for the annotated roles, or for both
    if neither is annotated.
    """
    person = jnp.take(example["pairs_human"], sample.truth[:places])
    match = (example["persons_instance"][None] == person[:, None]) & example["persons_valid"][None]  # [S, N]
    row, found = jnp.argmax(match, axis=-1), jnp.any(match, axis=-1) & sample.positive[:places]
    actions = jnp.take(example["persons_actions"], row, axis=0)  # [S, A]
    roles = jnp.take(example["persons_roles"], row, axis=0) >= 0  # [S, A, 2]
    action, role = np.asarray(vocabulary.verb_action), np.asarray(vocabulary.verb_role)
    of_verb = actions[:, action]
    any_role = jnp.any(roles[:, action], axis=-1)
    this_role = roles[:, action, np.maximum(role, 0)] | (role < 0)[None]
    labels = (of_verb == 1) & (this_role | ~any_role)
    return labels, (of_verb >= 0) & found[:, None]
