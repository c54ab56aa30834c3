"""Random small worlds: two toy vocabularies, annotations and predictions full of ties, duplicates and exact halves."""

import numpy as np

from hoi_jax.evaluation.metrics.hico_det import PairDetections, PairTruth
from hoi_jax.evaluation.metrics.vcoco import ActionDetections, ActionTruth
from hoi_jax.vocab.tables import Vocabulary

TOY = Vocabulary(
    name="toy",
    objects=("person", "cup", "dog"),
    verbs=("no_interaction", "hold", "see"),
    human_class=0,
    hois=((0, 1), (1, 1), (2, 1), (0, 2), (2, 2)),
    train_counts=(3, 20, 30, 40, 9),
    no_interaction=0,
)
OBJECT_OF_CLASS = [obj for _, obj in TOY.hois]


def random_boxes(random, count):
    corners = np.sort(random.integers(0, 7, (count, 2, 2)), axis=1).reshape(count, 4)
    return (corners + [0, 0, 1, 1]).astype(float)


def random_world(seed):
    """A few images with coarse boxes and scores, so that ties, duplicates and exact halves are common."""
    random = np.random.default_rng(seed)
    num_images, count = random.integers(1, 4), random.integers(0, 7)
    truth = PairTruth(
        int(num_images),
        random.integers(0, num_images, count),
        random_boxes(random, count),
        random_boxes(random, count),
        random.integers(0, 5, count),
    )
    pairs, trips = int(random.integers(0, 10)), int(random.integers(0, 20))
    trips = trips if pairs else 0
    human, obj = random_boxes(random, pairs), random_boxes(random, pairs)
    image, copied = random.integers(0, num_images, pairs), np.full(pairs, -1)
    for row in range(pairs):
        if count and random.random() < 0.7:  # a copy, exact, or with one side moved by a pixel or halved
            source = random.integers(count)
            human[row], obj[row] = truth.human_xyxy_px[source] - 1, truth.object_xyxy_px[source] - 1
            image[row], copied[row] = truth.image[source], truth.label[source]
            if random.random() < 0.5:
                obj[row, random.integers(2, 4)] += 1
            elif random.random() < 0.5:  # one side halved: counted in pixels (+1) or as a length
                side, plus = random.integers(2), random.integers(2)
                length = obj[row, side + 2] - obj[row, side] + plus
                obj[row, side + 2] -= length / 2 if length % 2 == 0 else 0
    score = random.integers(1, 5, trips) / 4
    score[random.random(trips) < 0.05] = np.nan
    triplet_pair = random.integers(0, pairs, trips) if pairs else np.zeros(0, np.int64)
    label = random.integers(-1, 5, trips)
    if trips:
        label = np.where(random.random(trips) < 0.5, copied[triplet_pair], label)
    return truth, PairDetections(image, human, obj, triplet_pair, label, score)


def oracle_rows(truth, found):
    real = list(zip(truth.image, truth.label, truth.human_xyxy_px.tolist(), truth.object_xyxy_px.tolist(), strict=True))
    rows = [
        (
            found.pair_image[pair],
            label,
            found.pair_human_xyxy_px[pair].tolist(),
            found.pair_object_xyxy_px[pair].tolist(),
            score,
        )
        for pair, label, score in zip(found.triplet_pair, found.triplet_label, found.triplet_score, strict=True)
    ]
    return real, rows


ACTIONS_TOY = Vocabulary(
    name="toy_actions",
    objects=("person", "cup"),
    verbs=("cut_instr", "cut_obj", "stand"),
    human_class=0,
    actions=("cut", "stand"),
    action_roles=(("instr", "obj"), ()),
    verb_action=(0, 0, 1),
    verb_role=(0, 1, -1),
)


def random_person_boxes(random, count):
    return np.sort(random.integers(0, 7, (count, 2, 2)), axis=1).reshape(count, 4).astype(float)


def random_action_world(seed):
    random = np.random.default_rng(seed)
    images, people, found, roles = (int(random.integers(low, high)) for low, high in ((1, 4), (0, 6), (1, 7), (0, 14)))
    labels = random.integers(0, 2, (people, 2))
    labels[random.random(people) < 0.2] = -1
    role_boxes = random_person_boxes(random, people * 4).reshape(people, 2, 2, 4)
    role_boxes[random.random((people, 2, 2)) < 0.3] = np.nan
    truth = ActionTruth(
        images, random.integers(0, images, people), random_person_boxes(random, people), labels, role_boxes
    )
    image, boxes = random.integers(0, images, found), random_person_boxes(random, found)
    for row in range(found):
        if people and random.random() < 0.7:
            source = random.integers(people)
            image[row], boxes[row] = truth.person_image[source], truth.person_xyxy_px[source]
    agent = random.integers(1, 5, (found, 2)) / 4
    agent[random.random((found, 2)) < 0.2] = np.nan
    role_box = random_person_boxes(random, roles)
    detection, action, slot = random.integers(0, found, roles), np.zeros(roles, int), random.integers(0, 2, roles)
    for row in range(roles):
        choice = random.random()
        if choice < 0.2:
            role_box[row] = 0 if choice < 0.1 else np.nan
        elif people and choice < 0.8:
            role_box[row] = role_boxes[random.integers(people), 0, slot[row]]
    score = random.integers(1, 5, roles) / 4
    score[random.random(roles) < 0.05] = np.nan
    return truth, ActionDetections(image, boxes, agent, detection, action, slot, role_box, score)


def plain_actions(truth, found):
    people = [
        {
            "image": truth.person_image[k],
            "box": truth.person_xyxy_px[k].tolist(),
            "labels": truth.labels[k].tolist(),
            "roles": {
                (a, s): truth.role_xyxy_px[k, a, s].tolist()
                for a in range(2)
                for s in range(2)
                if not np.isnan(truth.role_xyxy_px[k, a, s, 0])
            },
        }
        for k in range(len(truth.labels))
    ]
    detections = [
        {"image": found.image[d], "box": found.person_xyxy_px[d].tolist(), "agent": found.agent_scores[d].tolist()}
        for d in range(len(found.image))
    ]
    roles = [
        {
            "detection": found.role_detection[r],
            "action": found.role_action[r],
            "slot": found.role_slot[r],
            "box": found.role_xyxy_px[r].tolist(),
            "score": found.role_score[r],
        }
        for r in range(len(found.role_score))
    ]
    return people, detections, roles
