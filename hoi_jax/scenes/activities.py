"""Activities: poses of their people, placement of their objects, and intended verbs.

Activities are proposals: `world` accepts a play only if the rules of `verbs` find exactly the intended verbs in it.
"""

import dataclasses
import math
from collections.abc import Callable

from hoi_jax.scenes.geometry import Point
from hoi_jax.scenes.layout import CAMERA, Layout
from hoi_jax.scenes.objects import KINDS, SceneObject
from hoi_jax.scenes.people import HEAD_RADIUS, SOLE, STANDING_PELVIS, ears_of, mouth_of, skeleton
from hoi_jax.scenes.verbs import Entity
from hoi_jax.vocab.scenes import VERBS_OF_OBJECT

LARGE = ("bicycle", "horse", "dog")
RIDE_GRIP: dict[str, Point] = {"bicycle": (0.14, -0.45), "horse": (0.22, -0.2)}
STANDING_OBJECTS = ("bicycle", "horse", "bench", "chair", "dog", "skateboard", "cart", "ball")
"""Objects that stand on the ground; the others are on a plinth unless somebody holds them."""


@dataclasses.dataclass
class Play:
    """People and objects of one activity, and its verbs by (person, target) index into `entities`."""

    entities: list[Entity]
    verbs: dict[tuple[int, int], set[str]]


def unheld(layout: Layout, name: str, u: float) -> SceneObject:
    """An unused object at u, on the ground or on a plinth."""
    if name in STANDING_OBJECTS:
        return layout.grounded(name, u, flip=layout.rng.sign())
    kind = KINDS[name]
    top = layout.rng.between(0.15, 0.5)
    obj = layout.obj(name, u, top + 0.55 * kind.height, flip=layout.rng.sign())
    lowered = obj.centre[1] + layout.ground - top * layout.height - obj.bottom
    return dataclasses.replace(obj, centre=(obj.centre[0], lowered), plinth=layout.ground)


def kick(layout: Layout, name: str) -> Play:
    if name == "person":
        hands = layout.spot(0.42, 1.02), layout.spot(0.62, 1.0)
        turn = layout.rng.sign()
        lead, trail = hands if turn < 0 else hands[::-1]
        other = layout.person(0.5, turn=turn, front=-1, lead_hand=lead, trail_hand=trail)
        actor = layout.person(lead_foot=layout.spot(0.44, 0.22), lean=-0.2, front=1)
        return Play([actor, other], {(0, 1): {"kick"}})
    obj = layout.grounded(name, layout.rng.between(0.3, 0.36) + 0.48 * KINDS[name].width)
    if name in ("ball", "apple"):
        lift = layout.rng.between(0.0, 0.14) * layout.height
        obj = dataclasses.replace(obj, centre=(obj.centre[0], obj.centre[1] - lift))
    actor = layout.person(lead_foot=obj.at(obj.kind.kick), trail_foot=layout.spot(-0.04, SOLE), lean=-0.14)
    return Play([actor, obj], {(0, 1): {"kick"}})


def hold(layout: Layout, name: str) -> Play:
    if name == "person":
        turn, gap = layout.rng.sign(), layout.rng.between(0.4, 0.52)
        meet = layout.spot(gap / 2, layout.rng.between(0.42, 0.52))
        lead, trail = (meet, None) if turn < 0 else (None, meet)
        pair = [layout.person(lead_hand=meet), layout.person(gap, turn=turn, lead_hand=lead, trail_hand=trail)]
        return Play(list(pair), {(0, 1): {"hold"}, (1, 0): {"hold"}})
    if name in LARGE:
        distance = {"bicycle": 0.45, "horse": 0.75, "dog": 0.42}[name]
        obj = layout.grounded(name, distance + layout.rng.between(-0.03, 0.03), flip=-1)
        low = layout.up(obj.at(obj.kind.grip)) < 0.45
        actor = layout.person(
            pelvis_v=0.3 if low else STANDING_PELVIS, lean=0.4 if low else 0.1, lead_hand=obj.at(obj.kind.grip)
        )
        return Play([actor, obj], {(0, 1): {"hold"}})
    if name == "umbrella":
        goal = layout.spot(layout.rng.between(0.22, 0.3), layout.rng.between(0.62, 0.7))
    elif name == "bag" and layout.rng.chance(0.7):
        goal = layout.spot(layout.rng.between(0.15, 0.28), 0.4)
    else:
        goal = layout.spot(layout.rng.between(0.27, 0.36), layout.rng.between(0.45, 0.72))
    obj = layout.hold_at(layout.obj(name, 0.3, 0.5, front=1), KINDS[name].grip, goal)
    return Play([layout.person(lead_hand=goal), obj], {(0, 1): {"hold"}})


def carry(layout: Layout, name: str) -> Play:
    u, v = layout.rng.between(0.2, 0.26), layout.rng.between(0.5, 0.62)
    if name == "umbrella":
        u, v = 0.22, 0.85
    if name == "chair":
        u, v = u + 0.03, v - 0.1
    obj = layout.obj(name, u, v, flip=-1, front=-1 if KINDS[name].width > 0.3 else 1)
    trail, lead = sorted((obj.at(point) for point in obj.kind.grips), key=layout.forward)
    actor = layout.person(lead_hand=lead, trail_hand=trail, lean=-0.08)
    return Play([actor, obj], {(0, 1): {"carry"}})


def _pusher(layout: Layout, u: float, hands: tuple[Point, Point], turn: int, gaze: Point | None, lean: float):
    low = layout.up(hands[0]) < 0.4
    side = turn if lean > 0 else -turn
    return layout.person(
        u, turn=turn, pelvis_v=0.34 if low else 0.43, lean=0.6 * lean if low else 0.35 * lean,
        lead_hand=hands[0] if side == turn else hands[1], trail_hand=hands[1] if side == turn else hands[0],
        lead_foot=layout.spot(u + (0.04 if lean > 0 else 0.2) * turn, SOLE),
        trail_foot=layout.spot(u - (0.2 if lean > 0 else -0.02) * turn, SOLE), gaze=gaze,
    )  # fmt: skip


def _steep_look(layout: Layout, side: int) -> Point:
    """A gaze clearly to one side that passes above or below a partner at the other end of the object."""
    angle = layout.rng.between(-0.85, -0.5) if layout.rng.chance(0.6) else layout.rng.between(0.8, 0.95)
    return (side * math.cos(angle), math.sin(angle))


def push(layout: Layout, name: str) -> Play:
    if name == "person":
        gap = layout.rng.between(0.44, 0.5)
        other = layout.person(gap, turn=1, front=-1)
        hands = (layout.spot(gap - 0.06, 0.64), layout.spot(gap - 0.06, 0.57))
        return Play([_pusher(layout, 0.0, hands, 1, None, 0.6), other], {(0, 1): {"push"}})
    obj = _pushed(layout, name)
    actor = _pusher(layout, 0.0, _ends(obj, 1), 1, None, 1.0)
    if name in ("cart", "bench") and layout.rng.chance(0.3):
        end = layout.forward(obj.at((0.47, 0.0)))
        looks = _steep_look(layout, layout.facing), _steep_look(layout, -layout.facing)
        actor = _pusher(layout, 0.0, _ends(obj, 1), 1, looks[0], 1.0)
        against = _pusher(layout, end + 0.31, _ends(obj, -1), -1, looks[1], 1.0)
        return Play([actor, obj, against], {(0, 1): {"push"}, (2, 1): {"push"}})
    return Play([actor, obj], {(0, 1): {"push"}})


def _pushed(layout: Layout, name: str) -> SceneObject:
    nearest = max(-x for x, _ in KINDS[name].push)
    return layout.grounded(name, layout.rng.between(0.28, 0.31) + nearest * KINDS[name].width, front=-1)


def _ends(obj: SceneObject, side: int) -> tuple[Point, Point]:
    """Positions of two hands at the rear (1) or front (-1) end of an object."""
    (x1, y1), (x2, y2) = obj.kind.push
    if side > 0:
        return obj.at((x1, y1)), obj.at((x2, y2))
    return obj.at((0.48, y1 + 0.1)), obj.at((0.46, y2 + 0.02))


def push_together(layout: Layout, name: str) -> Play:
    """One person pushes at the rear and one pulls at the front; both look in the direction of motion."""
    obj = _pushed(layout, name)
    end = layout.forward(obj.at((0.47, 0.0)))
    behind = _pusher(layout, 0.0, _ends(obj, 1), 1, _steep_look(layout, layout.facing), 1.0)
    ahead = _pusher(layout, end + 0.17, _ends(obj, -1), 1, _steep_look(layout, layout.facing), -0.1)
    both = {"push", "push_together"}
    return Play([behind, obj, ahead], {(0, 1): both, (2, 1): set(both)})


def _seat(layout: Layout, obj: SceneObject, share: float) -> Point:
    x1, y1, x2, y2 = obj.top
    return (x1 + share * (x2 - x1), y1 + share * (y2 - y1))


def _sitter(layout: Layout, obj: SceneObject, share: float):
    u, v = layout.forward(_seat(layout, obj, share)), layout.up(_seat(layout, obj, share)) + 0.02
    foot_v = SOLE if v < 0.5 else v - 0.4
    ahead = 0.22 if v > 0.2 else 0.36
    return layout.person(
        u, pelvis_v=v, lean=layout.rng.between(-0.1, 0.12),
        lead_hand=layout.spot(u + 0.17, v + 0.17), trail_hand=layout.spot(u + 0.06, v + 0.17),
        lead_foot=layout.spot(u + ahead + 0.08, foot_v), trail_foot=layout.spot(u + ahead, foot_v), front=1,
    )  # fmt: skip


def sit_on(layout: Layout, name: str) -> Play:
    obj = layout.grounded(name, 0.0)
    if name == "bench" and layout.rng.chance(0.35):
        pair = [_sitter(layout, obj, 0.2), _sitter(layout, obj, 0.78)]
        return Play([pair[0], obj, pair[1]], {(0, 1): {"sit_on"}, (2, 1): {"sit_on"}})
    return Play([_sitter(layout, obj, layout.rng.between(0.3, 0.7)), obj], {(0, 1): {"sit_on"}})


def ride(layout: Layout, name: str) -> Play:
    obj = layout.grounded(name, 0.0)
    seat = _seat(layout, obj, layout.rng.between(0.35, 0.65))
    u, v = layout.forward(seat), layout.up(seat) + 0.02
    foot_v = max(SOLE, v - 0.37)
    spread = 0.17 if foot_v > SOLE else 0.27
    hand, verbs = layout.spot(u + 0.15, v + 0.18), {"ride"}
    if name in RIDE_GRIP and layout.rng.chance(0.5):
        hand = obj.at(RIDE_GRIP[name])
        verbs.add("hold")
    actor = layout.person(
        u, pelvis_v=v, lean=0.3 if "hold" in verbs else 0.05, trail_hand=layout.spot(u + 0.02, v + 0.18),
        lead_foot=layout.spot(u + spread, foot_v), trail_foot=layout.spot(u - spread, foot_v), front=1, lead_hand=hand,
    )  # fmt: skip
    return Play([actor, obj], {(0, 1): verbs})


def stand_on(layout: Layout, name: str) -> Play:
    obj = layout.grounded(name, 0.0)
    seat = _seat(layout, obj, layout.rng.between(0.4, 0.6))
    u, v = layout.forward(seat), layout.up(seat)
    half = 0.03 if name == "ball" else 0.06
    actor = layout.person(
        u, pelvis_v=v + STANDING_PELVIS, lead_foot=layout.spot(u + half, v + SOLE),
        trail_foot=layout.spot(u - half, v + SOLE), front=1, calm=0.6,
    )  # fmt: skip
    return Play([actor, obj], {(0, 1): {"stand_on"}})


def wear(layout: Layout, name: str) -> Play:
    actor = layout.person()
    draft = layout.obj(name, 0.0, 0.9, front=1)
    foot = (0.0, 0.34) if name == "hat" else (0.0, 0.42)
    return Play([actor, layout.hold_at(draft, foot, actor.crown)], {(0, 1): {"wear"}})


def _head(layout: Layout) -> Point:
    return skeleton(layout.height, layout.spot(0.0, STANDING_PELVIS), layout.facing, 0.0)["head"]


def eat(layout: Layout, name: str) -> Play:
    angle = layout.rng.between(-0.3, 0.4)
    gaze = (layout.facing * math.cos(angle), math.sin(angle))
    mouth = mouth_of(_head(layout), HEAD_RADIUS * layout.height, gaze)
    draft = layout.obj(name, 0.0, 0.8, front=1)
    goal = (mouth[0] + layout.facing * 0.02 * layout.height, mouth[1] - 0.01 * layout.height)
    obj = layout.hold_at(draft, (-0.42, 0.0), goal)
    actor = layout.person(gaze=gaze, lead_hand=obj.at((0.15, 0.45)))
    return Play([actor, obj], {(0, 1): {"eat", "hold"}})


def talk_on(layout: Layout, name: str) -> Play:
    gaze = layout.free_gaze()
    side = -1 if gaze[0] > 0 else 1 if gaze[0] < 0 else layout.facing
    ears = ears_of(_head(layout), HEAD_RADIUS * layout.height, gaze)
    ear = ears[0] if side > 0 else ears[1]
    draft = layout.obj(name, 0.0, 0.8, front=1)
    centre = (ear[0] + side * 0.25 * draft.width, ear[1] + 0.01 * layout.height)
    obj = dataclasses.replace(draft, centre=centre)
    hand = (obj.centre[0] + side * 0.25 * obj.width, obj.centre[1] + 0.42 * obj.height)
    lead, trail = (hand, None) if side == layout.facing else (None, hand)
    return Play([layout.person(gaze=gaze, lead_hand=lead, trail_hand=trail), obj], {(0, 1): {"talk_on", "hold"}})


def _target(layout: Layout, name: str, u: float) -> Entity:
    if name == "person":
        return layout.person(u, turn=layout.rng.sign(), calm=0.8)
    return unheld(layout, name, u)


def _aim(layout: Layout, target: Entity) -> Point:
    (x, y), radius = target.aim_circles[layout.rng.below(len(target.aim_circles))]
    return (x, y + layout.rng.between(-0.3, 0.3) * radius)


def look_at(layout: Layout, name: str) -> Play:
    width = 0.3 if name == "person" else KINDS[name].width
    target = _target(layout, name, 0.3 + 0.5 * width + layout.rng.between(0.1, 0.7))
    turn = -1 if layout.rng.chance(0.25) else 1
    actor = layout.person(turn=turn, look_to=_aim(layout, target), calm=0.75)
    play = Play([actor, target], {(0, 1): {"look_at"}})
    if name != "person" and layout.rng.chance(0.3):
        play.entities.append(layout.person(-0.42, look_to=_aim(layout, target)))
        play.verbs[2, 1] = {"look_at"}
    return play


def point_at(layout: Layout, name: str) -> Play:
    width = 0.3 if name == "person" else KINDS[name].width
    target = _target(layout, name, 0.38 + 0.5 * width + layout.rng.between(0.1, 0.7))
    x, y = _aim(layout, target)
    shoulder = skeleton(layout.height, layout.spot(0.0, STANDING_PELVIS), layout.facing, 0.0)[
        "left_shoulder" if layout.facing > 0 else "right_shoulder"
    ]
    goal = (shoulder[0] + 3.0 * (x - shoulder[0]), shoulder[1] + 3.0 * (y - shoulder[1]))
    looks = layout.rng.chance(0.55)
    actor = layout.person(lead_hand=goal, look_to=_aim(layout, target) if looks else None)
    return Play([actor, target], {(0, 1): {"point_at", "look_at"} if looks else {"point_at"}})


def compete_for(layout: Layout, name: str) -> Play:
    """Two people on either side of an object, both looking at it and reaching for it."""
    gap = layout.rng.between(0.42, 0.6)
    obj = layout.grounded(name, gap)
    lift = layout.rng.between(0.0, 0.7) * layout.height
    obj = dataclasses.replace(obj, centre=(obj.centre[0], obj.centre[1] - lift))
    far = 2 * gap + layout.rng.between(-0.08, 0.08)
    people = [
        layout.person(u, turn=turn, look_to=obj.centre, lean=0.15, lead_hand=layout.spot(u + 0.24 * turn, 0.6))
        for u, turn in ((0.0, 1), (far, -1))
    ]
    both = {"look_at", "compete_for"}
    return Play([people[0], obj, people[1]], {(0, 1): both, (2, 1): set(both)})


def talk_to(layout: Layout, name: str) -> Play:
    gap = layout.rng.between(0.5, 0.95)
    first = layout.person(calm=0.8)
    second = layout.person(gap, turn=-1, look_to=first.head, calm=0.8)
    first = layout.person(look_to=second.head, calm=0.8)
    both = {"look_at", "talk_to"}
    return Play([first, second], {(0, 1): both, (1, 0): set(both)})


def hug(layout: Layout, name: str) -> Play:
    gap = layout.rng.between(0.2, 0.25)
    first = layout.person(
        lead_hand=layout.spot(gap + 0.06, 0.66),
        trail_hand=layout.spot(gap - 0.02, 0.56),
        lean=0.06,
        gaze=CAMERA,
        front=1,
    )
    second = layout.person(
        gap, turn=-1, lead_hand=layout.spot(-0.06, 0.64), trail_hand=layout.spot(0.02, 0.54), lean=0.06
    )
    return Play([first, second], {(0, 1): {"hug"}, (1, 0): {"hug"}})


ACTIVITIES: dict[str, Callable[[Layout, str], Play]] = {
    function.__name__: function
    for function in (
        kick, hold, carry, push, push_together, sit_on, ride, stand_on, wear, eat, talk_on, look_at, point_at,
        compete_for, talk_to, hug,
    )
}  # fmt: skip

assert set(ACTIVITIES) == {verb for verbs in VERBS_OF_OBJECT.values() for verb in verbs}
