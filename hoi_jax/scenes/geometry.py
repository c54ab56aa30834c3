"""Plane geometry of the scenes: points, capsules, rays, two-link limbs. Plain floats are faster than tiny arrays.

x grows to the right and y downwards, in pixels of the image. A capsule (x1, y1, x2, y2, radius) is the set of points
within `radius` of a segment; bodies and objects are unions of capsules.
"""

import math

Point = tuple[float, float]
Capsule = tuple[float, float, float, float, float]
Box = tuple[float, float, float, float]


def segment_distance(x: float, y: float, x1: float, y1: float, x2: float, y2: float) -> float:
    """Distance from the point (x, y) to the segment (x1, y1)-(x2, y2)."""
    dx, dy = x2 - x1, y2 - y1
    length2 = dx * dx + dy * dy
    t = 0.0 if length2 == 0.0 else min(1.0, max(0.0, ((x - x1) * dx + (y - y1) * dy) / length2))
    return math.hypot(x - x1 - t * dx, y - y1 - t * dy)


def outline_distance(point: Point, capsules: tuple[Capsule, ...]) -> float:
    """Distance from a point to the outline of a union of capsules; negative inside."""
    x, y = point
    nearest = math.inf
    for x1, y1, x2, y2, r in capsules:
        distance = segment_distance(x, y, x1, y1, x2, y2) - r
        if distance < nearest:
            nearest = distance
    return nearest


def ray_circle(origin: Point, direction: Point, centre: Point, radius: float) -> float | None:
    """Distance along the ray (unit `direction`) to the foot of the perpendicular from `centre`, or None for a miss.

    The ray hits when the centre of the circle is ahead and closer than `radius` to the ray.
    """
    dx, dy = centre[0] - origin[0], centre[1] - origin[1]
    along = dx * direction[0] + dy * direction[1]
    across = abs(dx * direction[1] - dy * direction[0])
    return along if along > 0.0 and across <= radius else None


def unit(dx: float, dy: float) -> Point:
    """(dx, dy) scaled to length 1; (1, 0) for the zero vector."""
    length = math.hypot(dx, dy)
    return (dx / length, dy / length) if length > 0.0 else (1.0, 0.0)


def two_link(root: Point, target: Point, upper: float, lower: float, bend: Point) -> tuple[Point, Point]:
    """Middle and end joint of a two-link limb that reaches from `root` for `target`.

    The end is the nearest reachable point on the line to the target. Of the two solutions for the middle joint, the
    one further in direction `bend` is taken.
    """
    dx, dy = target[0] - root[0], target[1] - root[1]
    distance = math.hypot(dx, dy)
    ux, uy = (dx / distance, dy / distance) if distance > 1e-9 else (0.0, 1.0)
    reach = min(max(distance, abs(upper - lower) * 1.05 + 0.15 * upper), (upper + lower) * 0.999)
    along = (upper * upper - lower * lower + reach * reach) / (2.0 * reach)
    off = math.sqrt(max(0.0, upper * upper - along * along))
    side = 1.0 if -uy * bend[0] + ux * bend[1] >= 0.0 else -1.0
    middle = (root[0] + along * ux - side * off * uy, root[1] + along * uy + side * off * ux)
    return middle, (root[0] + reach * ux, root[1] + reach * uy)


def overlap_share(a: Box, b: Box) -> float:
    """Intersection of two boxes over the area of the smaller one."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0.0 or height <= 0.0:
        return 0.0
    smaller = min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))
    return width * height / max(smaller, 1e-9)


def capsule_box(capsules: tuple[Capsule, ...]) -> Box:
    """The box around a union of capsules."""
    left = top = math.inf
    right = bottom = -math.inf
    for x1, y1, x2, y2, r in capsules:
        left, right = min(left, x1 - r, x2 - r), max(right, x1 + r, x2 + r)
        top, bottom = min(top, y1 - r, y2 - r), max(bottom, y1 + r, y2 + r)
    return left, top, right, bottom
