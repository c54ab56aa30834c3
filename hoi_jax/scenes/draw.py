"""Drawing of people, objects and backgrounds: lists of coloured shapes, painted in colour and as an id map.

A shape is (kind, coordinates in pixels, line width, colour). The colour image is painted at twice the size and
reduced (smooth edges); the id map has the visible entity of every pixel.
"""

import numpy as np
from PIL import Image, ImageDraw

from hoi_jax.scenes.appearance import APPEARANCES, Rows
from hoi_jax.scenes.geometry import Point
from hoi_jax.scenes.objects import SceneObject
from hoi_jax.scenes.people import (
    ARM_RADIUS,
    HAND_RADIUS,
    LEG_RADIUS,
    SHOULDER_HALF,
    Colour,
    Person,
)
from hoi_jax.scenes.rng import Rng

Shape = tuple[str, tuple[float, ...], float, Colour]
SMOOTHING = 2
BLACK, WHITE, GREY = (20, 20, 22), (250, 250, 250), (120, 120, 125)


def dot(x: float, y: float, rx: float, colour: Colour, ry: float | None = None) -> Shape:
    ry = rx if ry is None else ry
    return ("ellipse", (x - rx, y - ry, x + rx, y + ry), 0.0, colour)


def line(points: tuple[Point, ...], width: float, colour: Colour) -> Shape:
    return ("line", tuple(v for point in points for v in point), width, colour)


def polygon(points: tuple[Point, ...], colour: Colour) -> Shape:
    return ("polygon", tuple(v for point in points for v in point), 0.0, colour)


def darker(colour: Colour, share: float = 0.72) -> Colour:
    return (int(colour[0] * share), int(colour[1] * share), int(colour[2] * share))


def _limb(points: tuple[Point, ...], width: float, colour: Colour) -> list[Shape]:
    joints = [dot(*point, width / 2, colour) for point in points[1:]]
    return [line(points, width, colour), *joints]


def person_shapes(person: Person) -> list[Shape]:
    """Shapes of a person from back to front: far limbs, trunk, head with a face, near limbs."""
    k, h, appearance = person.keypoints, person.height, person.appearance
    arm, leg = 2 * ARM_RADIUS * h, 2 * LEG_RADIUS * h
    near_right = person.facing > 0
    sides = (((5, 7, 9), (11, 13, 15)), ((6, 8, 10), (12, 14, 16)))
    far, near = sides if near_right else sides[::-1]
    shapes: list[Shape] = []
    for (shoulder, elbow, wrist), (hip, knee, ankle), shade in ((*far, 0.8), (*near, 1.0)):
        legs = _limb((k[hip], k[knee], k[ankle]), leg, darker(appearance.trousers, shade))
        foot = dot(
            k[ankle][0] + 0.025 * h * person.facing, k[ankle][1] + 0.005 * h, 0.055 * h, appearance.shoes, 0.03 * h
        )
        arms = [
            *_limb((k[shoulder], k[elbow]), arm, darker(appearance.shirt, shade)),
            line((k[elbow], k[wrist]), 0.9 * arm, darker(appearance.skin, shade)),
            dot(*k[wrist], HAND_RADIUS * h, darker(appearance.skin, shade)),
        ]
        if shade < 1.0:
            shapes += arms + legs + [foot] + _trunk(person)
        else:
            shapes += legs + [foot] + _head_shapes(person) + arms
    return shapes


def _trunk(person: Person) -> list[Shape]:
    h, s = person.height, SHOULDER_HALF * person.height
    (nx, ny), (px, py) = person.neck, person.pelvis
    shirt = person.appearance.shirt
    corners = ((nx - s, ny), (nx + s, ny), (px + 0.8 * s, py + 0.03 * h), (px - 0.8 * s, py + 0.03 * h))
    return [
        dot(px, py + 0.02 * h, 0.085 * h, person.appearance.trousers, 0.05 * h),
        polygon(corners, shirt),
        dot(nx - 0.8 * s, ny + 0.025 * h, 0.035 * h, shirt), dot(nx + 0.8 * s, ny + 0.025 * h, 0.035 * h, shirt),
    ]  # fmt: skip


def _head_shapes(person: Person) -> list[Shape]:
    (x, y), r, (gx, gy), appearance = person.head, person.head_radius, person.gaze, person.appearance
    k = person.keypoints
    shapes = [
        line((person.neck, person.head), 0.7 * r, appearance.skin),
        dot(x - 0.18 * r * gx, y - 0.1 * r, r, appearance.hair),
        dot(x + 0.2 * r * gx, y + r * (0.12 + 0.12 * gy), 0.84 * r, appearance.skin),
    ]
    nose = k[0]
    for eye in (k[1], k[2]):
        shapes.append(dot(*eye, 0.21 * r, WHITE))
        shapes.append(dot(eye[0] + 0.1 * r * gx, eye[1] + 0.1 * r * gy, 0.12 * r, BLACK))
    if person.gaze == (0.0, 0.0):
        shapes.append(dot(*nose, 0.13 * r, darker(appearance.skin, 0.75)))
    else:
        tip = (x + 1.35 * r * gx, y + r * (0.1 + 1.25 * gy))
        base = 0.22 * r
        root = (x + 0.6 * r * gx, y + r * (0.1 + 0.55 * gy))
        side = ((root[0] - base * gy, root[1] + base * gx), (root[0] + base * gy, root[1] - base * gx))
        shapes.append(polygon((tip, *side), (235, 90, 60)))
    mx, my = person.mouth
    shapes.append(line(((mx - 0.25 * r, my), (mx + 0.2 * r, my)), 0.14 * r, (150, 30, 40)))
    return shapes


def _strokes(obj: SceneObject, rows: Rows) -> list[Shape]:
    """Shapes from rows in object coordinates; line widths and radii are shares of the width.

    Rows: ("dot", x, y, r, colour[, ry share of height]), ("line", width, colour, points...),
    ("poly", colour, points...).
    """
    shapes: list[Shape] = []
    for row in rows:
        if row[0] == "dot":
            ry = row[5] * obj.height if len(row) > 5 else None
            shapes.append(dot(*obj.at((row[1], row[2])), row[3] * obj.width, row[4], ry))
        elif row[0] == "line":
            shapes.append(line(tuple(obj.at(point) for point in row[3:]), row[1] * obj.width, row[2]))
        else:
            shapes.append(polygon(tuple(obj.at(point) for point in row[2:]), row[1]))
    return shapes


def object_shapes(obj: SceneObject) -> list[Shape]:
    """Shapes of an object; lines and dots follow the contact outline of its kind."""
    return _strokes(obj, APPEARANCES[obj.name](obj.colour))


def paint(canvas: ImageDraw.ImageDraw, shapes: list[Shape], scale: float, fill: int | None = None) -> None:
    """Draw shapes at `scale` times their coordinates, in their colours or all with the value `fill`."""
    for kind, coordinates, width, colour in shapes:
        xy = [value * scale for value in coordinates]
        ink = colour if fill is None else fill
        if kind == "line":
            canvas.line(xy, ink, max(1, round(width * scale)), "curve" if len(xy) > 4 else None)
        elif kind == "ellipse":
            canvas.ellipse(xy, ink)
        else:
            canvas.polygon(xy, ink)


def background_shapes(rng: Rng, height: int, width: int) -> list[Shape]:
    """Shapes of sky, ground and clutter (hills, trees, posts, houses, stains) in muted colours."""
    horizon = height * rng.between(0.3, 0.5)
    tone = rng.below(5)
    ground = ((140, 165, 115), (175, 165, 140), (150, 150, 150), (185, 170, 150), (120, 145, 130))[tone]
    sky = ((180, 205, 225), (205, 210, 215), (220, 205, 190), (165, 185, 200), (195, 215, 205))[rng.below(5)]
    shapes = [
        polygon(((0, 0), (width, 0), (width, horizon), (0, horizon)), sky),
        polygon(((0, horizon), (width, horizon), (width, height), (0, height)), ground),
    ]
    unit = min(height, width)
    for _ in range(rng.integer(2, 6)):
        x, kind = rng.between(0, width), rng.below(4)
        size = unit * rng.between(0.08, 0.25)
        if kind == 0:
            shapes.append(dot(x, horizon, 1.6 * size, darker(ground, 0.88), size))
            shapes.append(
                polygon(((0, horizon), (width, horizon), (width, horizon + size), (0, horizon + size)), ground)
            )
        elif kind == 1:
            shapes.append(line(((x, horizon + 0.2 * size), (x, horizon - size)), 0.16 * size, (105, 90, 75)))
            shapes.append(dot(x, horizon - 1.1 * size, 0.5 * size, (105, 135, 100), 0.7 * size))
        elif kind == 2:
            wall = (170 + rng.below(30), 160, 150)
            box = ((x, horizon - size), (x + size, horizon - size), (x + size, horizon + 2), (x, horizon + 2))
            shapes.append(polygon(box, wall))
            shapes.append(polygon((box[0], (x + size / 2, horizon - 1.5 * size), box[1]), (145, 115, 105)))
        else:
            y = rng.between(horizon, height)
            shapes.append(dot(x, y, size, darker(ground, rng.between(0.85, 1.1)), 0.25 * size))
    return [(kind, xy, w, tuple(min(255, c) for c in colour)) for kind, xy, w, colour in shapes]  # type: ignore[misc]


def plinth_shapes(obj: SceneObject) -> list[Shape]:
    """The plinth below or the thread above an unheld object; both belong to the background."""
    if obj.hangs:
        x, top = obj.centre[0], obj.box[1]
        return [line(((x, 0.0), (x, top)), 0.75, (90, 90, 95))]
    if obj.plinth is None:
        return []
    x, top, half = obj.centre[0], obj.bottom, max(0.45 * obj.width, 0.08 * obj.width)
    body = ((x - half, top), (x + half, top), (x + 0.8 * half, obj.plinth), (x - 0.8 * half, obj.plinth))
    return [polygon(body, (160, 155, 150)), line((body[0], body[1]), 1.5, (130, 125, 120))]


def render(
    entities: list[Person | SceneObject], background: list[Shape], height: int, width: int
) -> tuple[Image.Image, np.ndarray]:
    """Paint a scene.

    Args:
      entities: in drawing order, farthest first; entity n gets the value n + 1 in the id map.

    Returns:
      The RGB image, and the id map [height, width] uint8 with 0 for the background.
    """
    big = Image.new("RGB", (width * SMOOTHING, height * SMOOTHING))
    ids = Image.new("L", (width, height), 0)
    canvas, map_canvas = ImageDraw.Draw(big), ImageDraw.Draw(ids)
    paint(canvas, background, SMOOTHING)
    for index, entity in enumerate(entities):
        if isinstance(entity, SceneObject):
            plinth = plinth_shapes(entity)
            paint(canvas, plinth, SMOOTHING)
            paint(map_canvas, plinth, 1, 0)
            shapes = object_shapes(entity)
        else:
            shapes = person_shapes(entity)
        paint(canvas, shapes, SMOOTHING)
        paint(map_canvas, shapes, 1, index + 1)
    return big.reduce(SMOOTHING), np.asarray(ids)
