"""Layout of one activity: its position, scale and direction, and helpers to place people and objects.

Positions in a layout are (u, v) in heights of its people: u forwards from the actor, v upwards from the ground.
"""

import dataclasses
import math

from hoi_jax.scenes.geometry import Point, unit
from hoi_jax.scenes.objects import KINDS, SceneObject, make_object
from hoi_jax.scenes.people import (
    SHOULDER_HALF,
    SOLE,
    STANDING_PELVIS,
    TORSO,
    Appearance,
    Colour,
    Person,
    build_person,
    skeleton,
)
from hoi_jax.scenes.rng import Rng

SKINS: tuple[Colour, ...] = ((255, 224, 196), (241, 194, 150), (224, 172, 120), (170, 115, 75), (110, 72, 48))
HAIRS: tuple[Colour, ...] = ((30, 22, 18), (90, 56, 30), (150, 100, 50), (235, 200, 110), (170, 60, 30))
SHIRTS: tuple[Colour, ...] = (
    (200, 50, 50), (50, 100, 200), (245, 245, 245), (60, 170, 90), (240, 190, 60), (150, 80, 170), (80, 80, 90),
    (240, 130, 160), (60, 180, 200),
)  # fmt: skip
TROUSERS: tuple[Colour, ...] = ((40, 50, 90), (60, 60, 65), (110, 80, 55), (30, 90, 100), (150, 150, 155))
SHOES: tuple[Colour, ...] = ((20, 20, 20), (230, 230, 230), (150, 30, 30))

CAMERA: Point = (0.0, 0.0)


@dataclasses.dataclass
class Layout:
    """Placement of an activity: actor's ground point (x, ground) in pixels, people's height in pixels, direction."""

    rng: Rng
    x: float
    ground: float
    height: float
    facing: int

    def spot(self, u: float, v: float) -> Point:
        """Pixel position of (u forwards, v upwards)."""
        return (self.x + self.facing * u * self.height, self.ground - v * self.height)

    def forward(self, point: Point) -> float:
        """Coordinate u of a pixel position."""
        return (point[0] - self.x) * self.facing / self.height

    def up(self, point: Point) -> float:
        """Coordinate v of a pixel position."""
        return (self.ground - point[1]) / self.height

    def appearance(self) -> Appearance:
        pick = self.rng.pick
        return Appearance(pick(SKINS), pick(HAIRS), pick(SHIRTS), pick(TROUSERS), pick(SHOES))

    def obj(self, name: str, u: float, v: float, *, flip: int = 1, front: float = 0.0) -> SceneObject:
        """An object with its centre at (u, v); flip -1 turns its front towards the actor."""
        return make_object(
            name, self.spot(u, v), self.height, flip=self.facing * flip, colour=self.rng.below(6),
            depth=self.ground + front, scale=self.rng.between(0.85, 1.2),
        )  # fmt: skip

    def grounded(self, name: str, u: float, *, flip: int = 1, front: float = 0.0) -> SceneObject:
        """An object that stands on the ground at u."""
        draft = self.obj(name, u, 0.5 * KINDS[name].height, flip=flip, front=front)
        drop = self.ground - draft.bottom
        return dataclasses.replace(draft, centre=(draft.centre[0], draft.centre[1] + drop))

    def hold_at(self, draft: SceneObject, anchor: Point, goal: Point) -> SceneObject:
        """The object moved so that `anchor`, in object coordinates, is at the pixel position `goal`."""
        here = draft.at(anchor)
        centre = (draft.centre[0] + goal[0] - here[0], draft.centre[1] + goal[1] - here[1])
        return dataclasses.replace(draft, centre=centre)

    def free_gaze(self) -> Point:
        """A gaze without a target: into the camera or roughly horizontal."""
        if self.rng.chance(0.25):
            return CAMERA
        side = self.facing if self.rng.chance(0.7) else -self.facing
        angle = self.rng.between(-0.6, 0.75)
        return (side * math.cos(angle), math.sin(angle))

    def free_hand(self, u: float, lead: bool, calm: float) -> Point:
        """Position of an idle hand: hanging down, on the hip, or (with share 1 - calm) raised or stretched out."""
        forward = SHOULDER_HALF if lead else -SHOULDER_HALF
        side = 1.0 if lead else -1.0
        if not self.rng.chance(calm):
            kind = self.rng.below(3)
            if kind == 0:
                return self.spot(u + forward + side * self.rng.between(0.05, 0.15), self.rng.between(0.92, 1.08))
            if kind == 1:
                return self.spot(u + forward + side * 0.5, self.rng.between(0.55, 0.95))
            return self.spot(u + forward + side * self.rng.between(0.15, 0.22), self.rng.between(0.6, 0.75))
        if self.rng.chance(0.15):
            return self.spot(u + 1.2 * forward, 0.5)
        return self.spot(u + forward + side * self.rng.between(0.02, 0.07), self.rng.between(0.4, 0.45))

    def person(
        self,
        u: float = 0.0,
        *,
        pelvis_v: float = STANDING_PELVIS,
        lean: float = 0.0,
        turn: int = 1,
        gaze: Point | None = None,
        look_to: Point | None = None,
        lead_hand: Point | None = None,
        trail_hand: Point | None = None,
        lead_foot: Point | None = None,
        trail_foot: Point | None = None,
        front: float = 0.0,
        calm: float = 0.65,
    ) -> Person:
        """A person with the pelvis at (u, pelvis_v); turn -1 makes it face back towards the actor.

        lead/trail: the limb on the side that the person faces, and the other one. Positions are in pixels; by default
        hands hang down and feet stand on the ground. `look_to` is a pixel position to look at.
        """
        layout = Layout(self.rng, self.x, self.ground, self.height, self.facing * turn)
        own_u = layout.forward(self.spot(u, 0.0))
        trunk_shift = math.sin(lean) * TORSO
        shoulder_drop = STANDING_PELVIS + TORSO - pelvis_v - TORSO * math.cos(lean)

        def idle(lead: bool) -> Point:
            x, y = layout.free_hand(own_u + trunk_shift, lead, calm)
            return (x, y + shoulder_drop * self.height)

        def foot(forward: float) -> Point:
            return layout.spot(own_u + forward + self.rng.between(-0.02, 0.03), SOLE)

        lead_hand = lead_hand or idle(True)
        trail_hand = trail_hand or idle(False)
        lead_foot, trail_foot = lead_foot or foot(0.07), trail_foot or foot(-0.07)
        left_leads = layout.facing > 0
        pelvis = layout.spot(own_u, pelvis_v)
        if look_to is not None:
            head = skeleton(self.height, pelvis, layout.facing, lean)["head"]
            gaze = unit(look_to[0] - head[0], look_to[1] - head[1])
        return build_person(
            self.height, pelvis, facing=layout.facing, appearance=self.appearance(),
            depth=self.ground + front, lean=lean,
            gaze=layout.free_gaze() if gaze is None else gaze,
            left_hand=lead_hand if left_leads else trail_hand,
            right_hand=trail_hand if left_leads else lead_hand,
            left_foot=lead_foot if left_leads else trail_foot,
            right_foot=trail_foot if left_leads else lead_foot,
        )  # fmt: skip
