"""Definitions of the verbs: one geometric rule each, evaluated on the finished scene.

No rule depends on the class of an object (except that two hands on a person have another meaning). A body part touches
a target when its point is within a tolerance of the target's outline; a gaze or a pointing arm is a ray that hits
the nearest target ahead that is not touched. `margin` (shares of the person's height) widens every tolerance: a
scene is accepted only if its labels are the same with and without `WIDE`, so that no label depends on a single pixel.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from hoi_jax.scenes.geometry import Point, outline_distance, ray_circle, segment_distance, unit
from hoi_jax.scenes.objects import SceneObject
from hoi_jax.scenes.people import FOREARM, UPPER_ARM, Person, ears_of

Entity = Person | SceneObject
PairVerbs = dict[tuple[int, int], frozenset[str]]

WIDE = 0.045
HAND_REACH, FOOT_REACH, HIP_REACH, HEAD_REACH = 0.05, 0.055, 0.075, 0.035
KICK_STRIDE = 0.17
ASTRIDE = 0.05
HUG_DISTANCE = 0.32
SIGHT_RANGE = 3.0
TALK_RANGE = 1.4
CONTEST_RANGE = 1.0
STRAIGHT_ARM, ARM_LIFT = 0.96, 0.24
OFF_GROUND = 0.06


class Touch(NamedTuple):
    """Body parts of a person that touch one target."""

    left_hand: bool
    right_hand: bool
    left_foot: bool
    right_foot: bool
    feet_on_top: bool
    hip: bool
    crown: bool
    mouth: bool
    ear: bool

    @property
    def hands(self) -> int:
        return self.left_hand + self.right_hand


def touch(person: Person, target: Entity, margin: float = 0.0) -> Touch | None:
    """The contacts between a person and a target, or None without contact."""
    h = person.height
    far = (0.08 + margin) * h
    a, b = person.box, target.box
    if a[0] > b[2] + far or b[0] > a[2] + far or a[1] > b[3] + far or b[1] > a[3] + far:
        return None
    k, outline = person.keypoints, target.capsules

    def near(point: Point, reach: float) -> bool:
        return outline_distance(point, outline) <= (reach + margin) * h

    hands_feet = (
        near(k[9], HAND_REACH), near(k[10], HAND_REACH), near(k[15], FOOT_REACH), near(k[16], FOOT_REACH),
    )  # fmt: skip
    if isinstance(target, Person):
        return Touch(*hands_feet, False, False, False, False, False) if any(hands_feet) else None
    top, reach = target.top, (HIP_REACH + margin) * h
    feet_on_top = all(segment_distance(*k[i], *top) <= reach for i in (15, 16))
    hip = segment_distance(*person.pelvis, *top) <= reach
    mouth = near(person.mouth, HEAD_REACH)
    ears = ears_of(person.head, person.head_radius, person.gaze)
    result = Touch(
        *hands_feet, feet_on_top, hip, near(person.crown, HEAD_REACH), mouth,
        not mouth and any(near(ear, HEAD_REACH) for ear in ears),
    )  # fmt: skip
    return result if any(result) else None


def _either(positive: str, negative: str, amount: float, margin: float) -> set[str]:
    """One verb or the other by the sign of `amount`; both if it is within `margin` of zero."""
    if abs(amount) < margin:
        return {positive, negative}
    return {positive if amount > 0.0 else negative}


def contact_verbs(person: Person, target: Entity, parts: Touch, margin: float = 0.0) -> set[str]:
    """Verbs that follow from contact alone; both verbs if the distance to the border between them is below `margin`.

    sit_on: hips on the top, both ankles on the same side of the hips. ride: hips on the top, one ankle on either
    side (astride). stand_on: both feet on the top. kick: exactly one foot touches, stretched away from the hips.
    hold: exactly one hand touches, or any hand of a person who sits or rides. carry: two hands on an object lifted off
    the ground. push: two hands on an object on the ground, or on a person at arm's length. hug: two hands on a person
    close by. wear: on the crown, without a hand. eat: at the mouth, in a hand. talk_on: at an ear, in a hand.
    """
    k, h = person.keypoints, person.height
    verbs = set()
    if parts.hip:
        sides = [k[i][0] - person.pelvis[0] for i in (15, 16)]
        astride = min(-min(sides), max(sides)) / h - ASTRIDE
        verbs |= _either("ride", "sit_on", astride, margin)
    elif parts.feet_on_top:
        verbs.add("stand_on")
    elif parts.left_foot != parts.right_foot:
        foot = k[15] if parts.left_foot else k[16]
        if abs(foot[0] - person.pelvis[0]) >= (KICK_STRIDE - margin) * h:
            verbs.add("kick")
    if parts.hands == 1 or (parts.hands and parts.hip):
        verbs.add("hold")
    elif parts.hands == 2 and isinstance(target, Person):
        apart = abs(person.pelvis[0] - target.pelvis[0]) / h
        verbs |= _either("hug", "push", HUG_DISTANCE - apart, margin)
    elif parts.hands == 2:
        lifted = (max(k[15][1], k[16][1]) - target.box[3]) / h
        verbs |= _either("carry", "push", lifted - OFF_GROUND, margin)
    if parts.crown and not parts.hands:
        verbs.add("wear")
    if parts.mouth and parts.hands:
        verbs.add("eat")
    if parts.ear and parts.hands:
        verbs.add("talk_on")
    return verbs


def sight_distance(origin: Point, direction: Point, target: Entity, reach: float, slack: float) -> float | None:
    """Distance along a ray to a target; None if it misses by more than `slack` px or is beyond `reach` px."""
    best = None
    for centre, radius in target.aim_circles:
        along = ray_circle(origin, direction, centre, radius + slack)
        if along is not None and along <= reach and (best is None or along < best):
            best = along
    return best


def pointing_rays(person: Person, margin: float = 0.0) -> list[tuple[int, Point, Point]]:
    """(wrist keypoint, shoulder, unit direction) of every stretched and lifted arm."""
    rays, k = [], person.keypoints
    for shoulder, wrist in ((5, 9), (6, 10)):
        dx, dy = k[wrist][0] - k[shoulder][0], k[wrist][1] - k[shoulder][1]
        straight = math.hypot(dx, dy) >= (STRAIGHT_ARM - margin) * (UPPER_ARM + FOREARM) * person.height
        if straight and dy <= (ARM_LIFT + margin) * person.height:
            rays.append((wrist, k[shoulder], unit(dx, dy)))
    return rays


def _first_hit(
    entities: Sequence[Entity], person: int, origin: Point, direction: Point, skip: set[int], margin: float
) -> int | None:
    height = entities[person].height
    nearest, hit = math.inf, None
    for index, target in enumerate(entities):
        if index != person and index not in skip:
            along = sight_distance(origin, direction, target, (SIGHT_RANGE + margin) * height, 1.6 * margin * height)
            if along is not None and along < nearest:
                nearest, hit = along, index
    return hit


def _faces(person: Person) -> int:
    """Side to which the face clearly looks, -1 or 1; otherwise 0."""
    return (person.gaze[0] > 0.5) - (person.gaze[0] < -0.5)


def _crew_verbs(entities: Sequence[Entity], verbs: dict[tuple[int, int], set[str]], margin: float) -> None:
    """Add the verbs that depend on another person.

    talk_to: two people look at each other. push_together: another person pushes the same object and looks to the
    same side. compete_for: another person looks at the same object from its other side, both within reach of it.
    """
    for (i, j), found in list(verbs.items()):
        me, target = entities[i], entities[j]
        if not isinstance(me, Person):
            continue
        if isinstance(target, Person):
            near = math.dist(me.head, target.head) <= (TALK_RANGE + margin) * max(me.height, target.height)
            if near and "look_at" in found and "look_at" in verbs.get((j, i), ()):
                found.add("talk_to")
            continue
        for (other, same), theirs in list(verbs.items()):
            partner = entities[other]
            if same != j or other == i or not isinstance(partner, Person):
                continue
            if "push" in found and "push" in theirs and _faces(me) == _faces(partner) != 0:
                found.add("push_together")
            mine, yours = target.centre[0] - me.head[0], target.centre[0] - partner.head[0]
            reach = CONTEST_RANGE + margin
            close = abs(mine) <= reach * me.height and abs(yours) <= reach * partner.height
            if "look_at" in found and "look_at" in theirs and mine * yours < 0.0 and close:
                found.add("compete_for")


def scene_verbs(entities: Sequence[Entity], margin: float = 0.0) -> PairVerbs:
    """All verbs of all (person, target) pairs, as indices into `entities`; pairs without a verb are absent.

    look_at: the ray of the face first hits the target, which the person does not touch. point_at: the same for the
    ray of a stretched, lifted arm whose hand touches nothing. The others are in `contact_verbs` and `_crew_verbs`.
    """
    verbs: dict[tuple[int, int], set[str]] = {}
    for i, person in enumerate(entities):
        if not isinstance(person, Person):
            continue
        touched, busy = set(), [False, False]
        for j, target in enumerate(entities):
            parts = touch(person, target, margin) if j != i else None
            if parts is not None:
                touched.add(j)
                busy = [busy[0] or parts.left_hand, busy[1] or parts.right_hand]
                found = contact_verbs(person, target, parts, margin)
                if found:
                    verbs[i, j] = found
        if person.gaze != (0.0, 0.0):
            seen = _first_hit(entities, i, person.head, person.gaze, touched, margin)
            if seen is not None:
                verbs.setdefault((i, seen), set()).add("look_at")
        for wrist, shoulder, direction in pointing_rays(person, margin):
            if not busy[wrist - 9]:
                shown = _first_hit(entities, i, shoulder, direction, touched, margin)
                if shown is not None:
                    verbs.setdefault((i, shown), set()).add("point_at")
    _crew_verbs(entities, verbs, margin)
    return {pair: frozenset(found) for pair, found in verbs.items()}


def disturbs(person: Person, target: Entity, sees_within: float = math.inf) -> bool:
    """Whether a target would add a label to a person (with `WIDE` tolerances) or block its present gaze.

    `sees_within`: distance along the gaze to its present target; targets behind that do not disturb.
    """
    h = person.height
    wide = touch(person, target, WIDE)
    if wide is not None:
        exact = touch(person, target)
        if wide.hands or contact_verbs(person, target, wide, WIDE):
            return True
        if exact is not None and contact_verbs(person, target, exact):
            return True
    slack, reach = 1.6 * WIDE * h, (SIGHT_RANGE + WIDE) * h
    if person.gaze != (0.0, 0.0):
        along = sight_distance(person.head, person.gaze, target, min(reach, sees_within), slack)
        if along is not None:
            return True
    return any(
        sight_distance(shoulder, direction, target, reach, slack) is not None
        for _, shoulder, direction in pointing_rays(person, WIDE)
    )


def postures(person: Person, verbs: frozenset[str]) -> set[str]:
    """Actions without an object: stand, walk, raise_arm.

    stand: hips high above both ankles, feet together, not seated. walk: both feet low and one stride apart.
    raise_arm: a wrist is above the middle of the head. `verbs`: all verbs of the person with any target.
    """
    k, h, found = person.keypoints, person.height, set()
    (lx, ly), (rx, ry) = k[15], k[16]
    px, py = person.pelvis
    if not verbs & {"sit_on", "ride", "kick"} and abs(ly - ry) < 0.08 * h:
        if min(lx, rx) < px - 0.13 * h and max(lx, rx) > px + 0.13 * h:
            found.add("walk")
        elif max(abs(lx - px), abs(rx - px)) < 0.14 * h and max(ly, ry) - py > 0.37 * h:
            found.add("stand")
    if min(k[9][1], k[10][1]) < person.head[1]:
        found.add("raise_arm")
    return found


def part_states(person: Person, target: Entity, verb: str) -> tuple[int, ...]:
    """State of each of the ten body parts (HAKE order) for a verb: 1 = acts, 0 = does not.

    For contact verbs these are the touching parts and their limbs; for looking and talking, the head.
    """
    states = [0] * 10
    parts = touch(person, target)
    if verb == "no_interaction":
        return tuple(states)
    if verb in ("look_at", "compete_for", "talk_to", "eat", "talk_on", "wear"):
        states[5] = 1
    if verb in ("sit_on", "ride"):
        states[4] = 1
    if verb == "ride":
        states[1] = states[2] = 1
    if verb == "stand_on":
        states[0] = states[3] = 1
    if verb == "kick" and parts is not None:
        states[0] = states[1] = int(parts.right_foot)
        states[2] = states[3] = int(parts.left_foot)
    if verb in ("hold", "carry", "push", "push_together", "hug", "eat", "talk_on") and parts is not None:
        states[6], states[9] = int(parts.right_hand), int(parts.left_hand)
    if verb in ("carry", "push", "push_together", "hug"):
        states[7] = states[8] = 1
    if verb == "point_at":
        for wrist, shoulder, direction in pointing_rays(person):
            if sight_distance(shoulder, direction, target, SIGHT_RANGE * person.height, 0.0) is not None:
                hand, arm = (9, 8) if wrist == 9 else (6, 7)
                states[hand] = states[arm] = 1
    return tuple(states)
