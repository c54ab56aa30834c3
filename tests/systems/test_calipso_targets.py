"""What CALIPSO learns from: labels by hand, classes of instances, and scores of pairs from what was read."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hoi_jax.settings import from_config
from hoi_jax.systems.calipso import scores
from hoi_jax.systems.calipso.config import CalipsoConfig, LossConfig
from hoi_jax.systems.calipso.loss import loss_terms
from hoi_jax.systems.calipso.predict import BoxReadout, Candidates, anchors_to_read, result_rows, score_pairs
from hoi_jax.systems.calipso.targets import instance_labels, make_targets, usual_targets
from hoi_jax.vocab import get_vocabulary
from tests.helpers.batches import ACTION_STYLE, HOI_STYLE

NONE, KICK, HOLD, SIT = range(4)
BOXES = np.float32([[0, 0, 16, 16], [20, 0, 36, 16], [40, 0, 56, 16], [0, 40, 16, 56], [60, 60, 61, 61]])


def an_example(pairs, verbs, known=None, classes=(0, 0, 1, 2, 1)):
    """Five instances: two people, two objects that own anchors, and one speck."""
    rows = len(pairs)
    pairs, verbs = np.array(pairs, np.int32).reshape(rows, 2), np.array(verbs, bool).reshape(rows, 4)
    return {
        "instances_xyxy_px": jnp.asarray(BOXES),
        "instances_class": jnp.asarray(classes, jnp.int32),
        "instances_valid": jnp.ones(5, bool),
        "pairs_human": jnp.asarray(np.append(pairs[:, 0], -1)),
        "pairs_object": jnp.asarray(np.append(pairs[:, 1], -1)),
        "pairs_verbs": jnp.asarray(np.vstack([verbs, np.zeros((1, 4), bool)])),
        "pairs_verbs_known": jnp.asarray(
            np.vstack([np.ones((rows, 4), bool) if known is None else known, np.zeros((1, 4), bool)])
        ),
        "pairs_valid": jnp.asarray([True] * rows + [False]),
    }


def test_a_person_is_active_an_object_passive_and_both_are_linked():
    labels = instance_labels(an_example([(0, 2), (1, 0)], [[0, 1, 0, 0], [0, 0, 1, 0]]), HOI_STYLE)
    active, passive = np.asarray(labels.verbs)[:, 0], np.asarray(labels.verbs)[:, 1]
    assert np.argwhere(active).tolist() == [[0, KICK], [1, HOLD]]
    assert np.argwhere(passive).tolist() == [[0, HOLD], [2, KICK]]
    assert np.argwhere(labels.linked).tolist() == [[KICK, 0, 2], [HOLD, 1, 0]]
    np.testing.assert_array_equal(labels.present, labels.verbs)
    assert np.asarray(labels.known).all()


def test_a_verb_without_a_box_for_its_object_is_done_but_its_target_is_not_present():
    example = an_example([(0, -1), (1, 2)], [[0, 0, 1, 0], [0, 0, 1, 0]])
    labels = instance_labels(example, HOI_STYLE)
    assert np.argwhere(np.asarray(labels.verbs)[:, 0]).tolist() == [[0, HOLD], [1, HOLD]]
    assert np.argwhere(np.asarray(labels.present)[:, 0]).tolist() == [[1, HOLD]]
    assert np.argwhere(labels.linked).tolist() == [[HOLD, 1, 2]]


def test_what_annotators_did_not_look_for_is_unknown():
    known = np.array([[True, False, True, True]])
    labels = instance_labels(an_example([(0, 2)], [[0, 0, 1, 0]], known), HOI_STYLE)
    unknown = np.argwhere(~np.asarray(labels.known)).tolist()
    assert unknown == [[0, 0, KICK], [2, 1, KICK]]


def test_people_without_action_labels_are_unknown_and_objects_are_known_to_do_nothing():
    persons = {
        "persons_instance": jnp.asarray([0, -1], jnp.int32),
        "persons_actions": jnp.asarray([[1, 0, -1], [0, 0, 0]], jnp.int32),
        "persons_valid": jnp.asarray([True, False]),
    }
    example = an_example([(0, 2)], [[1, 0, 0, 0]]) | persons
    known = np.asarray(instance_labels(example, ACTION_STYLE).known)
    # Actions hold, walk, cut; cut has two roles, so that two verbs are unknown for person 0. Person 1 is in no table.
    np.testing.assert_array_equal(known[0, 0], [True, True, False, False])
    assert not known[1, 0].any() and known[2:, 0].all() and known[:, 1].all()


def targets_of(pairs, verbs, **changes):
    example = an_example(pairs, verbs)
    # One anchor on every box but the speck, one background anchor, one unusable anchor.
    anchors = jnp.asarray(np.vstack([BOXES[:4] + [0, 0, 2, 0], [[30, 30, 40, 40]], BOXES[:1]]).astype(np.float32))
    usable = jnp.asarray([True] * 5 + [False])
    config = from_config(LossConfig, {"max_foreground": 5, **changes})
    return make_targets(example, anchors, usable, HOI_STYLE, config, 2)


def test_classes_are_transitive_and_a_box_without_anchor_joins_nobody():
    """0 sits on 3, 1 sits on 3: one class of three. 1 kicks the speck, which owns no anchor."""
    made = targets_of([(0, 3), (1, 3), (1, 4)], [[0, 0, 0, 1], [0, 0, 0, 1], [0, 1, 0, 0]])
    classes = np.asarray(made.class_of_instance)
    assert classes[SIT].tolist() == [0, 0, 2, 0, -1]
    assert classes[KICK].tolist() == [0, 1, 2, 3, -1]
    assert sorted(np.asarray(made.instance).tolist()) == [-1, 0, 1, 2, 3]
    at = {int(i): int(a) for i, a in zip(made.instance, made.anchor, strict=True) if i >= 0}
    assert at == {0: 0, 1: 1, 2: 2, 3: 3}
    assert np.asarray(made.row).tolist() == [0, 1, 2, 3, -1, -1]
    # The person who kicks the speck is still known to kick, with a target in view.
    place = np.asarray(made.instance).tolist().index(1)
    assert made.verbs[place, 0, KICK] and made.present[place, 0, KICK]


def test_target_presence_can_be_asked_of_performed_verbs_only():
    pairs, verbs = [(0, 2)], [[0, 1, 0, 0]]
    everywhere = targets_of(pairs, verbs, target_mask="all")
    performed = targets_of(pairs, verbs)
    used = np.asarray(everywhere.used)
    assert np.asarray(everywhere.present_known)[used].all() and not np.asarray(everywhere.present_known)[~used].any()
    np.testing.assert_array_equal(performed.present_known, np.asarray(performed.verbs) & used[:, None, None])


def test_usual_targets_follow_the_training_counts_or_the_list():
    table = usual_targets(HOI_STYLE, 1)
    np.testing.assert_array_equal(table, HOI_STYLE.verb_object_mask)
    often = usual_targets(HOI_STYLE, 9)  # kick ball has 12 training pairs, hold ball 8 and hold person 2
    assert np.flatnonzero(often[KICK]).tolist() == [1] and not often[HOLD].any()
    vcoco = get_vocabulary("vcoco")
    table = usual_targets(vcoco, 1)
    roleless = np.array(vcoco.verb_role) < 0
    assert not table[roleless].any() and table[~roleless].any(1).all()


def people_and_objects(humans=1, objects=2):
    box = np.arange((humans + objects) * 4, dtype=np.float32).reshape(-1, 4)
    return Candidates(
        human_xyxy_px=jnp.asarray(box[:humans]), human_score=jnp.full(humans, 0.9), human_used=jnp.ones(humans, bool),
        object_xyxy_px=jnp.asarray(box[humans:]), object_score=jnp.full(objects, 0.8),
        object_class=jnp.arange(1, objects + 1), object_used=jnp.ones(objects, bool),
    )  # fmt: skip


def read(active, passive, target, embedding):
    verb = jnp.stack([jnp.asarray(active, jnp.float32), jnp.asarray(passive, jnp.float32)], axis=1)
    presence = jnp.stack([jnp.asarray(target, jnp.float32)] * 2, axis=1)
    return BoxReadout(verb, presence, jnp.asarray(embedding, jnp.float32))


V = 4
PERSON = read(np.full((1, V), 0.5), np.zeros((1, V)), [[0.9, 0.9, 0.1, 0.9]], np.zeros((1, V, 2)))
OBJECTS = read(np.zeros((2, V)), np.full((2, V), 0.6), np.zeros((2, V)), np.array([[[0.0, 1.0]] * V, [[0.0, 0.5]] * V]))


def test_the_near_object_wins_a_visible_role_and_the_empty_role_an_invisible_one():
    candidates, config = people_and_objects(), CalipsoConfig()
    triplets, empty, done = score_pairs(candidates, PERSON, OBJECTS, ACTION_STYLE, config)
    wanted = (0.9 * 0.5 * 0.8 * 0.6 * 0.9 * np.exp(-0.5)) ** (1 / 6)
    # Verbs: hold (visible), walk (no role), cut_instr (not visible), cut_obj (visible).
    np.testing.assert_allclose(triplets[0, :, 0], [0, wanted], rtol=1e-5)
    np.testing.assert_allclose(triplets[0, :, 3], [0, wanted], rtol=1e-5)
    assert not triplets[0, :, 1].any() and not triplets[0, :, 2].any()
    np.testing.assert_allclose(empty[0], [0, (0.045) ** (1 / 3), (0.405) ** (1 / 3), 0], rtol=1e-5)
    np.testing.assert_allclose(done[0], [wanted, 0.045 ** (1 / 3), 0.405 ** (1 / 3), wanted], rtol=1e-5)
    out = result_rows(candidates, triplets, empty, ACTION_STYLE, config)
    rows = np.asarray(out["pair_valid"])
    assert rows.sum() == 2
    alone = np.isnan(np.asarray(out["object_xyxy_px"])).all(1) & rows
    # A verb without role has no role to be empty: it lives in the agent's score only.
    np.testing.assert_allclose(np.asarray(out["verb_scores"])[alone], [[0, 0, 0.405 ** (1 / 3), 0]], rtol=1e-5)
    assert np.asarray(out["object_class"])[alone] == -1


@pytest.mark.parametrize(
    "subnet, power, factors",
    [({"passive": False}, 5, 0.9 * 0.5 * 0.8 * 0.9), ({"target_presence": False}, 5, 0.9 * 0.5 * 0.8 * 0.6)],
)
def test_a_missing_task_lowers_the_root(subnet, power, factors):
    config = from_config(CalipsoConfig, {"subnet": subnet})
    human, objects = PERSON, OBJECTS
    if not config.subnet.target_presence:
        human, objects = human._replace(target=None), objects._replace(target=None)
    triplets, empty, _ = score_pairs(people_and_objects(), human, objects, ACTION_STYLE, config)
    np.testing.assert_allclose(triplets[0, 1, 0], (factors * np.exp(-0.5)) ** (1 / power), rtol=1e-5)
    if not config.subnet.target_presence:
        # No pair score competes; walking, which has no object, is the square root of what is left.
        np.testing.assert_allclose(empty[0], [0, 0.45**0.5, 0, 0], rtol=1e-5)


def test_keep_all_gives_every_triplet_and_a_threshold_drops_weak_ones():
    config = from_config(CalipsoConfig, {"predict": {"keep": "all"}})
    triplets, _, _ = score_pairs(people_and_objects(), PERSON, OBJECTS, HOI_STYLE, config)
    assert (np.asarray(triplets) > 0).all()
    config = from_config(CalipsoConfig, {"predict": {"threshold": 0.99}})
    triplets, empty, done = score_pairs(people_and_objects(), PERSON, OBJECTS, HOI_STYLE, config)
    assert not np.asarray(triplets).any() and not np.asarray(empty).any() and not np.asarray(done).any()


def test_combinations_that_are_no_hoi_class_are_dropped():
    candidates, config = people_and_objects(), from_config(CalipsoConfig, {"predict": {"keep": "all"}})
    triplets, empty, _ = score_pairs(candidates, PERSON, OBJECTS, HOI_STYLE, config)
    out = result_rows(candidates, triplets, empty, HOI_STYLE, config)
    for row, obj, used in zip(out["verb_scores"], out["object_class"], out["pair_valid"], strict=True):
        if used:
            np.testing.assert_array_equal(np.asarray(row) > 0, HOI_STYLE.verb_object_mask[:, int(obj)])


def test_the_mean_readout_weighs_all_anchors_above_the_overlap_alike():
    config = from_config(CalipsoConfig, {"predict": {"readout": "mean", "readout_anchors": 3}})
    anchors = jnp.asarray([[0, 0, 10, 10], [0, 1, 10, 11], [0, 8, 10, 18], [50, 50, 60, 60]], jnp.float32)
    boxes = jnp.asarray([[0, 0, 10, 10], [55, 58, 60, 66]], jnp.float32)
    index, weights = anchors_to_read(boxes, anchors, jnp.ones(4, bool), config)
    assert np.asarray(index[0, :2]).tolist() == [0, 1] and int(index[1, 0]) == 3
    np.testing.assert_allclose(weights, [[0.5, 0.5, 0], [1, 0, 0]])


@pytest.mark.parametrize("per", ["anchor", "output"])
def test_cross_entropies_are_means_over_anchors_written_out(per):
    """Sums over what is known of each foreground anchor, or all of it, over the anchors, or over all that is known."""
    pairs, verbs = [(0, 3), (1, -1)], [[0, 0, 0, 1], [0, 1, 0, 0]]
    made = jax.tree.map(lambda x: x[None], targets_of(pairs, verbs))
    shape = made.verbs.shape
    rng = np.random.default_rng(0)
    logits = {name: rng.normal(size=shape).astype(np.float32) for name in ("verb", "target")}
    readout = {**logits, "embedding": np.zeros((*shape[:2], shape[3], 2), np.float32)}
    config = from_config(LossConfig, {"per": per, "verb": 2.0})
    terms = loss_terms(jax.tree.map(jnp.asarray, readout), made, jnp.ones(1, bool), config)

    def literal(name, labels, known):
        total, count, anchors = 0.0, 0, 0
        for place in range(shape[1]):
            anchors += bool(made.used[0, place])
            for half, verb in np.argwhere(known[0, place]):
                score = 1 / (1 + np.exp(-float(logits[name][0, place, half, verb])))
                total -= np.log(score if labels[0, place, half, verb] else 1 - score)
                count += 1
        return total / (anchors if per == "anchor" else count)

    performed = np.asarray(made.verbs & made.verbs_known)
    assert performed.sum() == 3  # 0 sits on 3, which is sat on; 1 kicks something that has no box
    verbs_known = np.asarray(made.verbs_known)
    np.testing.assert_allclose(terms["verb"].value, 2 * literal("verb", made.verbs, verbs_known), rtol=1e-5)
    np.testing.assert_allclose(terms["target"].value, literal("target", made.present, performed), rtol=1e-5)


def test_a_target_given_the_verb_lets_an_uncertain_verb_keep_its_triplet():
    """Eqs. 11 and 12 by hand: a verb of probability 0.3, its target in view five times in six when it is done."""
    one = jnp.ones((1, 1))

    def both(target):
        triplet = scores.triplet_scores(0.9 * one[0], 0.3 * one, 0.9 * one[0], 0.3 * one, target * one, one[None])
        return float(triplet[0, 0, 0]), float(scores.pair_scores(0.9 * one[0], 0.3 * one, target * one)[0, 0])

    np.testing.assert_allclose(both(0.25), (0.434, 0.587), atol=5e-4)  # verb and target together: the pair wins
    np.testing.assert_allclose(both(0.25 / 0.3), (0.531, 0.356), atol=5e-4)  # given the verb: the triplet does
