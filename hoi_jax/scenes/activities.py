"""How each activity poses its people and places its object, and which verbs it means to show.

An activity only proposes: `world` keeps a play when the rules of `verbs` find exactly the intended verbs in it.
"""

import dataclasses
import math
from collections.abc import Callable

from hoi_jax.scenes.geometry import Point
from hoi_jax.scenes.objects import KINDS, Thing
from hoi_jax.scenes.people import HEAD_RADIUS, SOLE, STANDING_PELVIS, ears_of, mouth_of, skeleton
from hoi_jax.scenes.stage import CAMERA, Stage
from hoi_jax.scenes.verbs import Entity
from hoi_jax.vocab.scenes import VERBS_OF_OBJECT

LARGE = ("bicycle", "horse", "dog")
RIDE_GRIP: dict[str, Point] = {"bicycle": (0.14, -0.45), "horse": (0.22, -0.2)}
STANDING_THINGS = ("bicycle", "horse", "bench", "chair", "dog", "skateboard", "cart", "ball")
"""Things that stand on the ground; the others lie on a plinth when nobody holds them."""


@dataclasses.dataclass
class Play:
    """People and things of one activity, and its verbs by (person, target) index into `entities`."""

    entities: list[Entity]
    verbs: dict[tuple[int, int], set[str]]


def unheld(stage: Stage, name: str, u: float) -> Thing:
    """An object at u that nobody uses: on the ground or on a plinth."""
    if name in STANDING_THINGS:
        return stage.grounded(name, u, flip=stage.dice.sign())
    kind = KINDS[name]
    top = stage.dice.between(0.15, 0.5)
    thing = stage.thing(name, u, top + 0.55 * kind.height, flip=stage.dice.sign())
    lowered = thing.centre[1] + stage.ground - top * stage.height - thing.bottom
    return dataclasses.replace(thing, centre=(thing.centre[0], lowered), plinth=stage.ground)


def kick(stage: Stage, name: str) -> Play:
    if name == "person":
        hands = stage.spot(0.42, 1.02), stage.spot(0.62, 1.0)
        turn = stage.dice.sign()
        lead, trail = hands if turn < 0 else hands[::-1]
        other = stage.person(0.5, turn=turn, front=-1, lead_hand=lead, trail_hand=trail)
        actor = stage.person(lead_foot=stage.spot(0.44, 0.22), lean=-0.2, front=1)
        return Play([actor, other], {(0, 1): {"kick"}})
    thing = stage.grounded(name, stage.dice.between(0.3, 0.36) + 0.48 * KINDS[name].width)
    if name in ("ball", "apple"):
        lift = stage.dice.between(0.0, 0.14) * stage.height
        thing = dataclasses.replace(thing, centre=(thing.centre[0], thing.centre[1] - lift))
    actor = stage.person(lead_foot=thing.at(thing.kind.kick), trail_foot=stage.spot(-0.04, SOLE), lean=-0.14)
    return Play([actor, thing], {(0, 1): {"kick"}})


def hold(stage: Stage, name: str) -> Play:
    if name == "person":
        turn, gap = stage.dice.sign(), stage.dice.between(0.4, 0.52)
        meet = stage.spot(gap / 2, stage.dice.between(0.42, 0.52))
        lead, trail = (meet, None) if turn < 0 else (None, meet)
        pair = [stage.person(lead_hand=meet), stage.person(gap, turn=turn, lead_hand=lead, trail_hand=trail)]
        return Play(list(pair), {(0, 1): {"hold"}, (1, 0): {"hold"}})
    if name in LARGE:
        distance = {"bicycle": 0.45, "horse": 0.75, "dog": 0.42}[name]
        thing = stage.grounded(name, distance + stage.dice.between(-0.03, 0.03), flip=-1)
        low = stage.up(thing.at(thing.kind.grip)) < 0.45
        actor = stage.person(
            pelvis_v=0.3 if low else STANDING_PELVIS, lean=0.4 if low else 0.1, lead_hand=thing.at(thing.kind.grip)
        )
        return Play([actor, thing], {(0, 1): {"hold"}})
    if name == "umbrella":
        goal = stage.spot(stage.dice.between(0.22, 0.3), stage.dice.between(0.62, 0.7))
    elif name == "bag" and stage.dice.chance(0.7):
        goal = stage.spot(stage.dice.between(0.15, 0.28), 0.4)
    else:
        goal = stage.spot(stage.dice.between(0.27, 0.36), stage.dice.between(0.45, 0.72))
    thing = stage.hold_at(stage.thing(name, 0.3, 0.5, front=1), KINDS[name].grip, goal)
    return Play([stage.person(lead_hand=goal), thing], {(0, 1): {"hold"}})


def carry(stage: Stage, name: str) -> Play:
    u, v = stage.dice.between(0.2, 0.26), stage.dice.between(0.5, 0.62)
    if name == "umbrella":
        u, v = 0.22, 0.85
    if name == "chair":
        u, v = u + 0.03, v - 0.1
    thing = stage.thing(name, u, v, flip=-1, front=-1 if KINDS[name].width > 0.3 else 1)
    trail, lead = sorted((thing.at(point) for point in thing.kind.grips), key=stage.forward)
    actor = stage.person(lead_hand=lead, trail_hand=trail, lean=-0.08)
    return Play([actor, thing], {(0, 1): {"carry"}})


def _pusher(stage: Stage, u: float, hands: tuple[Point, Point], turn: int, gaze: Point | None, lean: float):
    low = stage.up(hands[0]) < 0.4
    side = turn if lean > 0 else -turn
    return stage.person(
        u, turn=turn, pelvis_v=0.34 if low else 0.43, lean=0.6 * lean if low else 0.35 * lean,
        lead_hand=hands[0] if side == turn else hands[1], trail_hand=hands[1] if side == turn else hands[0],
        lead_foot=stage.spot(u + (0.04 if lean > 0 else 0.2) * turn, SOLE),
        trail_foot=stage.spot(u - (0.2 if lean > 0 else -0.02) * turn, SOLE), gaze=gaze,
    )  # fmt: skip


def _steep_look(stage: Stage, side: int) -> Point:
    """A look clearly to one side that passes above or below a partner at the other end of the object."""
    angle = stage.dice.between(-0.85, -0.5) if stage.dice.chance(0.6) else stage.dice.between(0.8, 0.95)
    return (side * math.cos(angle), math.sin(angle))


def push(stage: Stage, name: str) -> Play:
    if name == "person":
        gap = stage.dice.between(0.44, 0.5)
        other = stage.person(gap, turn=1, front=-1)
        hands = (stage.spot(gap - 0.06, 0.64), stage.spot(gap - 0.06, 0.57))
        return Play([_pusher(stage, 0.0, hands, 1, None, 0.6), other], {(0, 1): {"push"}})
    thing = _pushed(stage, name)
    actor = _pusher(stage, 0.0, _ends(thing, 1), 1, None, 1.0)
    if name in ("cart", "bench") and stage.dice.chance(0.3):
        end = stage.forward(thing.at((0.47, 0.0)))
        looks = _steep_look(stage, stage.facing), _steep_look(stage, -stage.facing)
        actor = _pusher(stage, 0.0, _ends(thing, 1), 1, looks[0], 1.0)
        against = _pusher(stage, end + 0.31, _ends(thing, -1), -1, looks[1], 1.0)
        return Play([actor, thing, against], {(0, 1): {"push"}, (2, 1): {"push"}})
    return Play([actor, thing], {(0, 1): {"push"}})


def _pushed(stage: Stage, name: str) -> Thing:
    nearest = max(-x for x, _ in KINDS[name].push)
    return stage.grounded(name, stage.dice.between(0.28, 0.31) + nearest * KINDS[name].width, front=-1)


def _ends(thing: Thing, side: int) -> tuple[Point, Point]:
    """Where two hands take hold of the rear (1) or front (-1) end of a thing."""
    (x1, y1), (x2, y2) = thing.kind.push
    if side > 0:
        return thing.at((x1, y1)), thing.at((x2, y2))
    return thing.at((0.48, y1 + 0.1)), thing.at((0.46, y2 + 0.02))


def push_together(stage: Stage, name: str) -> Play:
    """One pushes behind, one pulls in front, both look the way they go."""
    thing = _pushed(stage, name)
    end = stage.forward(thing.at((0.47, 0.0)))
    behind = _pusher(stage, 0.0, _ends(thing, 1), 1, _steep_look(stage, stage.facing), 1.0)
    ahead = _pusher(stage, end + 0.17, _ends(thing, -1), 1, _steep_look(stage, stage.facing), -0.1)
    both = {"push", "push_together"}
    return Play([behind, thing, ahead], {(0, 1): both, (2, 1): set(both)})


def _seat(stage: Stage, thing: Thing, share: float) -> Point:
    x1, y1, x2, y2 = thing.top
    return (x1 + share * (x2 - x1), y1 + share * (y2 - y1))


def _sitter(stage: Stage, thing: Thing, share: float):
    u, v = stage.forward(_seat(stage, thing, share)), stage.up(_seat(stage, thing, share)) + 0.02
    foot_v = SOLE if v < 0.5 else v - 0.4
    ahead = 0.22 if v > 0.2 else 0.36
    return stage.person(
        u, pelvis_v=v, lean=stage.dice.between(-0.1, 0.12),
        lead_hand=stage.spot(u + 0.17, v + 0.17), trail_hand=stage.spot(u + 0.06, v + 0.17),
        lead_foot=stage.spot(u + ahead + 0.08, foot_v), trail_foot=stage.spot(u + ahead, foot_v), front=1,
    )  # fmt: skip


def sit_on(stage: Stage, name: str) -> Play:
    thing = stage.grounded(name, 0.0)
    if name == "bench" and stage.dice.chance(0.35):
        pair = [_sitter(stage, thing, 0.2), _sitter(stage, thing, 0.78)]
        return Play([pair[0], thing, pair[1]], {(0, 1): {"sit_on"}, (2, 1): {"sit_on"}})
    return Play([_sitter(stage, thing, stage.dice.between(0.3, 0.7)), thing], {(0, 1): {"sit_on"}})


def ride(stage: Stage, name: str) -> Play:
    thing = stage.grounded(name, 0.0)
    seat = _seat(stage, thing, stage.dice.between(0.35, 0.65))
    u, v = stage.forward(seat), stage.up(seat) + 0.02
    foot_v = max(SOLE, v - 0.37)
    spread = 0.17 if foot_v > SOLE else 0.27
    hand, verbs = stage.spot(u + 0.15, v + 0.18), {"ride"}
    if name in RIDE_GRIP and stage.dice.chance(0.5):
        hand = thing.at(RIDE_GRIP[name])
        verbs.add("hold")
    actor = stage.person(
        u, pelvis_v=v, lean=0.3 if "hold" in verbs else 0.05, trail_hand=stage.spot(u + 0.02, v + 0.18),
        lead_foot=stage.spot(u + spread, foot_v), trail_foot=stage.spot(u - spread, foot_v), front=1, lead_hand=hand,
    )  # fmt: skip
    return Play([actor, thing], {(0, 1): verbs})


def stand_on(stage: Stage, name: str) -> Play:
    thing = stage.grounded(name, 0.0)
    seat = _seat(stage, thing, stage.dice.between(0.4, 0.6))
    u, v = stage.forward(seat), stage.up(seat)
    half = 0.03 if name == "ball" else 0.06
    actor = stage.person(
        u, pelvis_v=v + STANDING_PELVIS, lead_foot=stage.spot(u + half, v + SOLE),
        trail_foot=stage.spot(u - half, v + SOLE), front=1, calm=0.6,
    )  # fmt: skip
    return Play([actor, thing], {(0, 1): {"stand_on"}})


def wear(stage: Stage, name: str) -> Play:
    actor = stage.person()
    draft = stage.thing(name, 0.0, 0.9, front=1)
    foot = (0.0, 0.34) if name == "hat" else (0.0, 0.42)
    return Play([actor, stage.hold_at(draft, foot, actor.crown)], {(0, 1): {"wear"}})


def _head(stage: Stage) -> Point:
    return skeleton(stage.height, stage.spot(0.0, STANDING_PELVIS), stage.facing, 0.0)["head"]


def eat(stage: Stage, name: str) -> Play:
    angle = stage.dice.between(-0.3, 0.4)
    gaze = (stage.facing * math.cos(angle), math.sin(angle))
    mouth = mouth_of(_head(stage), HEAD_RADIUS * stage.height, gaze)
    draft = stage.thing(name, 0.0, 0.8, front=1)
    goal = (mouth[0] + stage.facing * 0.02 * stage.height, mouth[1] - 0.01 * stage.height)
    thing = stage.hold_at(draft, (-0.42, 0.0), goal)
    actor = stage.person(gaze=gaze, lead_hand=thing.at((0.15, 0.45)))
    return Play([actor, thing], {(0, 1): {"eat", "hold"}})


def talk_on(stage: Stage, name: str) -> Play:
    gaze = stage.free_gaze()
    side = -1 if gaze[0] > 0 else 1 if gaze[0] < 0 else stage.facing
    ears = ears_of(_head(stage), HEAD_RADIUS * stage.height, gaze)
    ear = ears[0] if side > 0 else ears[1]
    draft = stage.thing(name, 0.0, 0.8, front=1)
    centre = (ear[0] + side * 0.25 * draft.width, ear[1] + 0.01 * stage.height)
    thing = dataclasses.replace(draft, centre=centre)
    hand = (thing.centre[0] + side * 0.25 * thing.width, thing.centre[1] + 0.42 * thing.height)
    lead, trail = (hand, None) if side == stage.facing else (None, hand)
    return Play([stage.person(gaze=gaze, lead_hand=lead, trail_hand=trail), thing], {(0, 1): {"talk_on", "hold"}})


def _target(stage: Stage, name: str, u: float) -> Entity:
    if name == "person":
        return stage.person(u, turn=stage.dice.sign(), calm=0.8)
    return unheld(stage, name, u)


def _aim(stage: Stage, target: Entity) -> Point:
    (x, y), radius = target.aim_circles[stage.dice.below(len(target.aim_circles))]
    return (x, y + stage.dice.between(-0.3, 0.3) * radius)


def look_at(stage: Stage, name: str) -> Play:
    width = 0.3 if name == "person" else KINDS[name].width
    target = _target(stage, name, 0.3 + 0.5 * width + stage.dice.between(0.1, 0.7))
    turn = -1 if stage.dice.chance(0.25) else 1
    actor = stage.person(turn=turn, look_to=_aim(stage, target), calm=0.75)
    play = Play([actor, target], {(0, 1): {"look_at"}})
    if name != "person" and stage.dice.chance(0.3):
        play.entities.append(stage.person(-0.42, look_to=_aim(stage, target)))
        play.verbs[2, 1] = {"look_at"}
    return play


def point_at(stage: Stage, name: str) -> Play:
    width = 0.3 if name == "person" else KINDS[name].width
    target = _target(stage, name, 0.38 + 0.5 * width + stage.dice.between(0.1, 0.7))
    x, y = _aim(stage, target)
    shoulder = skeleton(stage.height, stage.spot(0.0, STANDING_PELVIS), stage.facing, 0.0)[
        "left_shoulder" if stage.facing > 0 else "right_shoulder"
    ]
    goal = (shoulder[0] + 3.0 * (x - shoulder[0]), shoulder[1] + 3.0 * (y - shoulder[1]))
    looks = stage.dice.chance(0.55)
    actor = stage.person(lead_hand=goal, look_to=_aim(stage, target) if looks else None)
    return Play([actor, target], {(0, 1): {"point_at", "look_at"} if looks else {"point_at"}})


def compete_for(stage: Stage, name: str) -> Play:
    """Two people on either side of a thing, both looking at it and reaching for it."""
    gap = stage.dice.between(0.42, 0.6)
    thing = stage.grounded(name, gap)
    lift = stage.dice.between(0.0, 0.7) * stage.height
    thing = dataclasses.replace(thing, centre=(thing.centre[0], thing.centre[1] - lift))
    far = 2 * gap + stage.dice.between(-0.08, 0.08)
    people = [
        stage.person(u, turn=turn, look_to=thing.centre, lean=0.15, lead_hand=stage.spot(u + 0.24 * turn, 0.6))
        for u, turn in ((0.0, 1), (far, -1))
    ]
    both = {"look_at", "compete_for"}
    return Play([people[0], thing, people[1]], {(0, 1): both, (2, 1): set(both)})


def talk_to(stage: Stage, name: str) -> Play:
    gap = stage.dice.between(0.5, 0.95)
    first = stage.person(calm=0.8)
    second = stage.person(gap, turn=-1, look_to=first.head, calm=0.8)
    first = stage.person(look_to=second.head, calm=0.8)
    both = {"look_at", "talk_to"}
    return Play([first, second], {(0, 1): both, (1, 0): set(both)})


def hug(stage: Stage, name: str) -> Play:
    gap = stage.dice.between(0.2, 0.25)
    first = stage.person(
        lead_hand=stage.spot(gap + 0.06, 0.66), trail_hand=stage.spot(gap - 0.02, 0.56), lean=0.06, gaze=CAMERA, front=1
    )
    second = stage.person(gap, turn=-1, lead_hand=stage.spot(-0.06, 0.64), trail_hand=stage.spot(0.02, 0.54), lean=0.06)
    return Play([first, second], {(0, 1): {"hug"}, (1, 0): {"hug"}})


ACTIVITIES: dict[str, Callable[[Stage, str], Play]] = {
    function.__name__: function
    for function in (
        kick, hold, carry, push, push_together, sit_on, ride, stand_on, wear, eat, talk_on, look_at, point_at,
        compete_for, talk_to, hug,
    )
}  # fmt: skip

assert set(ACTIVITIES) == {verb for verbs in VERBS_OF_OBJECT.values() for verb in verbs}
