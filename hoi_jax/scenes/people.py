"""Articulated people: a skeleton with 17 COCO keypoints, posed by target positions of hands and feet.

All lengths are shares of the standing height. People are seen in a three-quarter view: the person's left side is
on the right in the image, and `facing` (+1 right, -1 left) is the side to which knees bend and arms reach.
"""

import dataclasses
import functools
import math

from hoi_jax.scenes.geometry import Box, Capsule, Point, capsule_box, two_link

Colour = tuple[int, int, int]

TORSO, NECK, HEAD_RADIUS = 0.28, 0.02, 0.105
UPPER_ARM, FOREARM, THIGH, SHIN = 0.17, 0.17, 0.23, 0.23
SHOULDER_HALF, HIP_HALF = 0.08, 0.05
ARM_RADIUS, LEG_RADIUS, TORSO_RADIUS, HAND_RADIUS = 0.028, 0.038, 0.085, 0.04
STANDING_PELVIS = 0.45
"""Height of the pelvis above the soles of a standing person."""
SOLE = 0.03
"""Height of the ankle above the sole."""


@dataclasses.dataclass(frozen=True)
class Appearance:
    """Colours of a person."""

    skin: Colour
    hair: Colour
    shirt: Colour
    trousers: Colour
    shoes: Colour


@dataclasses.dataclass(frozen=True)
class Person:
    """A posed person; all positions in pixels.

    Attributes:
      height: standing height.
      keypoints: 17 points in COCO order, whether visible or not.
      pelvis, neck, head: centre of the hips, of the shoulders, of the head.
      gaze: unit direction of the face in the image; (0, 0) means into the camera.
      facing: +1 or -1, see the module docstring.
      appearance: colours.
      depth: larger is nearer to the viewer (drawn later).
    """

    height: float
    keypoints: tuple[Point, ...]
    pelvis: Point
    neck: Point
    head: Point
    gaze: Point
    facing: int
    appearance: Appearance
    depth: float

    class_index = 0

    @property
    def head_radius(self) -> float:
        return HEAD_RADIUS * self.height

    @property
    def crown(self) -> Point:
        """Top of the head, opposite the neck."""
        dx, dy = self.head[0] - self.neck[0], self.head[1] - self.neck[1]
        length = math.hypot(dx, dy)
        return (self.head[0] + dx / length * self.head_radius, self.head[1] + dy / length * self.head_radius)

    @property
    def mouth(self) -> Point:
        return mouth_of(self.head, self.head_radius, self.gaze)

    @functools.cached_property
    def capsules(self) -> tuple[Capsule, ...]:
        """Head, torso, arms and legs."""
        k, h = self.keypoints, self.height
        arm, leg = ARM_RADIUS * h, LEG_RADIUS * h
        limbs = ((5, 7, arm), (7, 9, arm), (6, 8, arm), (8, 10, arm), (11, 13, leg), (13, 15, leg),
                 (12, 14, leg), (14, 16, leg))  # fmt: skip
        return (
            (*self.head, *self.head, self.head_radius),
            (*self.neck, *self.pelvis, TORSO_RADIUS * h),
            *((*k[a], *k[b], radius) for a, b, radius in limbs),
        )

    @functools.cached_property
    def box(self) -> Box:
        """Box around the whole body, including hidden parts."""
        return capsule_box(self.capsules)

    @property
    def aim_circles(self) -> tuple[tuple[Point, float], ...]:
        """Target area of a gaze or a pointing arm: head and torso."""
        middle = ((self.neck[0] + self.pelvis[0]) / 2.0, (self.neck[1] + self.pelvis[1]) / 2.0)
        return (self.head, 0.12 * self.height), (middle, 0.14 * self.height)


def mouth_of(head: Point, radius: float, gaze: Point) -> Point:
    """Position of the mouth of a head looking along `gaze`."""
    return (head[0] + 0.75 * radius * gaze[0], head[1] + radius * (0.45 + 0.25 * gaze[1]))


def ears_of(head: Point, radius: float, gaze: Point) -> tuple[Point, Point]:
    """Left and right ear; both move against the direction of the gaze."""
    shift = head[0] - 0.3 * radius * gaze[0]
    return (shift + 0.85 * radius, head[1]), (shift - 0.85 * radius, head[1])


def face_points(head: Point, radius: float, gaze: Point) -> tuple[Point, ...]:
    """Nose, left eye, right eye, left ear, right ear."""
    (x, y), (gx, gy) = head, gaze
    spread = 0.34 * radius * (1.0 - 0.45 * abs(gx))
    eye_x, eye_y = x + 0.45 * radius * gx, y + radius * (0.4 * gy - 0.12)
    nose = (x + 0.85 * radius * gx, y + radius * (0.75 * gy + 0.1))
    return (nose, (eye_x + spread, eye_y), (eye_x - spread, eye_y), *ears_of(head, radius, gaze))


def skeleton(height: float, pelvis: Point, facing: int, lean: float) -> dict[str, Point]:
    """Joints (neck, head, shoulders, hips) of a person whose trunk leans `lean` radians towards `facing`.

    Shoulders and hips are (left, right) under the keys left_shoulder, right_shoulder, left_hip, right_hip.
    """
    ux, uy = math.sin(lean) * facing, -math.cos(lean)
    neck = (pelvis[0] + ux * TORSO * height, pelvis[1] + uy * TORSO * height)
    up = (NECK + HEAD_RADIUS) * height
    head = (neck[0] + 0.7 * ux * up, neck[1] - up * (0.3 + 0.7 * math.cos(lean)))
    s, p, drop = SHOULDER_HALF * height, HIP_HALF * height, 0.03 * height
    return {
        "neck": neck, "head": head,
        "left_shoulder": (neck[0] + s, neck[1] + drop), "right_shoulder": (neck[0] - s, neck[1] + drop),
        "left_hip": (pelvis[0] + p, pelvis[1]), "right_hip": (pelvis[0] - p, pelvis[1]),
    }  # fmt: skip


def build_person(
    height: float,
    pelvis: Point,
    *,
    facing: int,
    appearance: Appearance,
    depth: float,
    gaze: Point,
    left_hand: Point,
    right_hand: Point,
    left_foot: Point,
    right_foot: Point,
    lean: float = 0.0,
) -> Person:
    """Pose a person by inverse kinematics.

    Args:
      height: standing height, px.
      pelvis: centre of the hips, px.
      facing, appearance, depth, gaze: see `Person`.
      left_hand, right_hand, left_foot, right_foot: target positions of wrists and ankles, px; a limb stretches towards
        a target out of reach.
      lean: angle of the trunk towards `facing`, radians.
    """
    trunk = skeleton(height, pelvis, facing, lean)
    joints = []
    for name, goal, upper, lower, bend in (
        ("left_shoulder", left_hand, UPPER_ARM, FOREARM, (-0.4 * facing, 1.0)),
        ("right_shoulder", right_hand, UPPER_ARM, FOREARM, (-0.4 * facing, 1.0)),
        ("left_hip", left_foot, THIGH, SHIN, (float(facing), -0.5)),
        ("right_hip", right_foot, THIGH, SHIN, (float(facing), -0.5)),
    ):
        joints.append((trunk[name], *two_link(trunk[name], goal, upper * height, lower * height, bend)))
    (ls, le, lw), (rs, re, rw), (lh, lk, la), (rh, rk, ra) = joints
    face = face_points(trunk["head"], HEAD_RADIUS * height, gaze)
    return Person(
        height=height,
        keypoints=(*face, ls, rs, le, re, lw, rw, lh, rh, lk, rk, la, ra),
        pelvis=pelvis, neck=trunk["neck"], head=trunk["head"], gaze=gaze, facing=facing, appearance=appearance,
        depth=depth,
    )  # fmt: skip
