"""Distractors: bystanders, unused objects, and decoys that share only the boxes with a verb."""

import dataclasses

from hoi_jax.scenes.activities import Play, unheld
from hoi_jax.scenes.geometry import Point
from hoi_jax.scenes.layout import Layout
from hoi_jax.scenes.objects import SceneObject
from hoi_jax.scenes.people import SOLE, STANDING_PELVIS, Person
from hoi_jax.scenes.verbs import Entity


def idle(layout: Layout, name: str = "person") -> Play:
    """A person without interaction who stands, walks, crouches or lifts a leg, with arms in any position."""
    kind = layout.rng.unit()
    if kind < 0.15:
        person = layout.person(lead_foot=layout.spot(0.32, layout.rng.between(0.1, 0.2)), lean=-0.1, calm=0.6)
    elif kind < 0.3:
        person = layout.person(pelvis_v=0.3, lean=0.25, calm=0.7)
    elif kind < 0.5:
        person = layout.person(lead_foot=layout.spot(0.17, SOLE), trail_foot=layout.spot(-0.17, SOLE + 0.03), calm=0.7)
    else:
        person = layout.person(calm=0.5)
    return Play([person], {})


def lone_object(layout: Layout, name: str) -> Play:
    """An unused object."""
    return Play([unheld(layout, name, 0.0)], {})


def decoy(layout: Layout, verb: str, play: Play) -> Play:
    """The boxes of an activity without the activity: positions as in `play`, but idle limbs and gaze.

    Objects off the ground hang on a thread. Decoys ensure that boxes alone do not determine a verb.
    """
    entities: list[Entity] = []
    for entity in play.entities[:2]:
        if isinstance(entity, SceneObject):
            if verb == "wear":  # clear of the crown
                x, y = entity.centre
                entity = dataclasses.replace(entity, centre=(x, y - layout.rng.between(0.1, 0.13) * layout.height))
            high = entity.plinth is None and layout.up((0.0, entity.bottom)) > 0.04
            entities.append(dataclasses.replace(entity, hangs=high))
        else:
            entities.append(_without_activity(layout, entity, verb, play.entities[1]))
    return Play(entities, {})


def _without_activity(layout: Layout, actor: Person, verb: str, target: Entity) -> Person:
    """An idle person at the position of `actor` who does not touch what `actor` touches."""
    u, turn = layout.forward(actor.pelvis), actor.facing * layout.facing
    pelvis_v = STANDING_PELVIS
    if verb in ("push", "push_together", "hold") and layout.up(actor.pelvis) < 0.4:
        pelvis_v = 0.34
    if verb in ("sit_on", "ride") and isinstance(target, SceneObject):
        top = layout.up((0.0, target.top[1]))
        pelvis_v = 0.3 if abs(top - 0.3) > abs(top - STANDING_PELVIS) else STANDING_PELVIS
    hands: list[Point | None] = [None, None]
    if layout.rng.chance(0.6):
        level = pelvis_v + layout.rng.between(0.4, 0.55)
        hands = [layout.spot(u + side * turn * layout.rng.between(0.12, 0.2), level) for side in (1, -1)]
    return layout.person(
        u, pelvis_v=pelvis_v, lean=0.3 if pelvis_v < 0.4 else 0.0, turn=turn, front=actor.depth - layout.ground,
        lead_hand=hands[0], trail_hand=hands[1], calm=0.8,
    )  # fmt: skip
