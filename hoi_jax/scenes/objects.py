"""The fourteen object classes other than people: size, contact outline, and contact points of bodies.

Object coordinates are shares of its width and height around its centre (x towards its front, y down); radii are
shares of the width. `flip` mirrors an object. Sizes are shares of the height of nearby people.
"""

import dataclasses
import functools
import math

from hoi_jax.scenes.geometry import Box, Capsule, Point, capsule_box
from hoi_jax.scenes.people import Colour
from hoi_jax.vocab.scenes import OBJECTS


@dataclasses.dataclass(frozen=True)
class Kind:
    """Properties shared by all objects of a class.

    Attributes:
      width, height: size over the height of a person.
      outline: capsules in object coordinates.
      top: segment (x1, y1, x2, y2) on which hips or feet rest.
      grip: position of a single holding hand; grips: of two holding hands; push: of two hands pushing from behind;
        kick: of a kicking foot.
      colours: possible body colours.
    """

    width: float
    height: float
    outline: tuple[Capsule, ...]
    top: tuple[float, float, float, float]
    grip: Point
    grips: tuple[Point, Point]
    push: tuple[Point, Point]
    kick: Point
    colours: tuple[Colour, ...]


KINDS: dict[str, Kind] = {
    "ball": Kind(
        0.22, 0.22, ((0, 0, 0, 0, 0.5),), (-0.1, -0.5, 0.1, -0.5), (-0.2, 0.35), ((-0.4, 0.2), (0.3, 0.3)),
        ((-0.45, -0.1), (-0.4, -0.25)), (-0.48, 0.1), ((250, 250, 250), (255, 140, 0), (250, 225, 60)),
    ),
    "bicycle": Kind(
        0.8, 0.55,
        ((-0.29, 0.21, -0.29, 0.21, 0.2), (0.29, 0.21, 0.29, 0.21, 0.2), (-0.29, 0.2, 0.2, -0.2, 0.03),
         (-0.15, -0.3, 0.0, 0.2, 0.03), (0.2, -0.4, 0.29, 0.2, 0.03), (0.12, -0.45, 0.26, -0.45, 0.03)),
        (-0.22, -0.34, -0.08, -0.34), (0.16, -0.46), ((0.12, -0.45), (0.2, -0.45)),
        ((-0.46, 0.0), (-0.4, -0.08)), (-0.48, 0.2), ((220, 40, 50), (30, 90, 220), (20, 150, 90)),
    ),
    "horse": Kind(
        0.95, 0.8,
        ((-0.26, -0.06, 0.16, -0.06, 0.15), (0.2, -0.1, 0.36, -0.4, 0.07), (0.36, -0.38, 0.45, -0.28, 0.05),
         (-0.3, 0.0, -0.3, 0.46, 0.03), (-0.2, 0.0, -0.18, 0.46, 0.03), (0.14, 0.0, 0.12, 0.46, 0.03),
         (0.23, 0.0, 0.24, 0.46, 0.03)),
        (-0.2, -0.23, 0.08, -0.23), (0.46, -0.3), ((0.4, -0.4), (0.46, -0.28)),
        ((-0.4, -0.14), (-0.4, -0.02)), (-0.32, 0.3), ((120, 70, 35), (70, 45, 30), (165, 120, 80)),
    ),
    "bench": Kind(
        0.85, 0.28,
        ((-0.46, -0.38, 0.46, -0.38, 0.04), (-0.36, -0.3, -0.36, 0.46, 0.03), (0.36, -0.3, 0.36, 0.46, 0.03)),
        (-0.42, -0.5, 0.42, -0.5), (-0.46, -0.4), ((-0.4, -0.4), (0.4, -0.4)),
        ((-0.47, -0.4), (-0.44, -0.5)), (-0.38, 0.2), ((165, 105, 45), (140, 90, 60)),
    ),
    "chair": Kind(
        0.32, 0.52,
        ((-0.42, -0.46, -0.42, 0.46, 0.07), (-0.4, 0.04, 0.42, 0.04, 0.07), (0.4, 0.06, 0.4, 0.46, 0.06)),
        (-0.15, 0.0, 0.38, 0.0), (-0.42, -0.3), ((-0.42, 0.0), (0.36, 0.05)),
        ((-0.45, -0.45), (-0.45, -0.3)), (-0.45, 0.3), ((200, 60, 120), (120, 60, 170), (200, 170, 40)),
    ),
    "cup": Kind(
        0.13, 0.14, ((-0.05, -0.2, -0.05, 0.2, 0.34), (0.36, 0.0, 0.36, 0.0, 0.14)), (-0.2, -0.5, 0.1, -0.5),
        (-0.25, 0.2), ((-0.35, 0.1), (0.35, 0.1)), ((-0.35, 0.0), (-0.3, 0.1)), (-0.35, 0.2),
        ((255, 255, 255), (90, 200, 240)),
    ),
    "apple": Kind(
        0.13, 0.13, ((0, 0.04, 0, 0.04, 0.45),), (-0.1, -0.4, 0.1, -0.4), (-0.2, 0.35), ((-0.4, 0), (0.4, 0)),
        ((-0.4, 0.0), (-0.3, 0.1)), (-0.4, 0.1), ((215, 20, 30), (120, 200, 30)),
    ),
    "hat": Kind(
        0.3, 0.15, ((-0.42, 0.34, 0.42, 0.34, 0.08), (-0.1, -0.05, 0.1, -0.05, 0.2)), (-0.1, -0.5, 0.1, -0.5),
        (-0.4, 0.34), ((-0.42, 0.3), (0.42, 0.3)), ((-0.45, 0.3), (-0.4, 0.3)), (-0.45, 0.3),
        ((40, 40, 45), (150, 30, 140), (20, 60, 130)),
    ),
    "bag": Kind(
        0.22, 0.28, ((-0.2, 0.2, 0.2, 0.2, 0.29), (-0.15, -0.32, 0.15, -0.32, 0.08)), (-0.2, -0.2, 0.2, -0.2),
        (0.0, -0.42), ((-0.4, 0.15), (0.4, 0.15)), ((-0.45, 0.0), (-0.45, 0.2)), (-0.48, 0.2),
        ((40, 160, 70), (230, 120, 160), (110, 60, 30)),
    ),
    "phone": Kind(
        0.09, 0.16, ((0, -0.25, 0, 0.25, 0.45),), (-0.2, -0.5, 0.2, -0.5), (-0.2, 0.35), ((-0.4, 0), (0.4, 0)),
        ((-0.4, 0.0), (-0.4, 0.2)), (-0.4, 0.3), ((25, 25, 30),),
    ),
    "umbrella": Kind(
        0.55, 0.68, ((-0.38, -0.3, 0.38, -0.3, 0.1), (-0.15, -0.38, 0.15, -0.38, 0.12), (0, -0.3, 0, 0.48, 0.02)),
        (-0.1, -0.5, 0.1, -0.5), (0.0, 0.4), ((0.0, 0.28), (0.0, 0.44)), ((0.0, 0.3), (0.0, 0.4)), (-0.4, 0.3),
        ((230, 40, 160), (60, 60, 230), (240, 200, 40)),
    ),
    "dog": Kind(
        0.5, 0.4,
        ((-0.22, 0.0, 0.14, 0.0, 0.12), (0.18, -0.05, 0.3, -0.3, 0.09), (0.32, -0.28, 0.42, -0.2, 0.07),
         (-0.24, 0.05, -0.26, 0.45, 0.04), (0.14, 0.05, 0.16, 0.45, 0.04)),
        (-0.2, -0.15, 0.08, -0.15), (0.28, -0.44), ((-0.2, 0.1), (0.14, 0.1)),
        ((-0.32, -0.05), (-0.3, -0.12)), (-0.3, 0.2), ((235, 195, 110), (130, 130, 135), (245, 240, 230)),
    ),
    "skateboard": Kind(
        0.5, 0.12, ((-0.42, -0.15, 0.42, -0.15, 0.06), (-0.28, 0.3, -0.28, 0.3, 0.06), (0.28, 0.3, 0.28, 0.3, 0.06)),
        (-0.42, -0.42, 0.42, -0.42), (-0.4, -0.1), ((-0.38, -0.1), (0.38, -0.1)),
        ((-0.46, -0.2), (-0.44, 0.0)), (-0.47, -0.1), ((0, 190, 190), (255, 90, 60)),
    ),
    "cart": Kind(
        0.72, 0.46,
        ((-0.18, -0.1, 0.38, -0.1, 0.11), (-0.18, 0.1, 0.38, 0.1, 0.11), (-0.46, -0.3, -0.26, -0.1, 0.03),
         (-0.1, 0.32, -0.1, 0.32, 0.11), (0.3, 0.32, 0.3, 0.32, 0.11)),
        (-0.15, -0.28, 0.38, -0.28), (-0.46, -0.32), ((-0.28, -0.05), (0.46, -0.05)),
        ((-0.46, -0.3), (-0.4, -0.22)), (-0.2, 0.3), ((200, 130, 30), (90, 110, 60)),
    ),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class SceneObject:
    """One object: class, centre and size in pixels, side of its front, and colour.

    `plinth`: y of the ground below an object on a plinth (which is background), or None. `hangs`: whether it hangs on a
    thread from above (also background).
    """

    name: str
    centre: Point
    width: float
    height: float
    flip: int
    colour: Colour
    depth: float
    plinth: float | None = None
    hangs: bool = False

    @property
    def class_index(self) -> int:
        return OBJECTS.index(self.name)

    @property
    def kind(self) -> Kind:
        return KINDS[self.name]

    def at(self, point: Point) -> Point:
        """Pixel position of a point in object coordinates."""
        return (
            self.centre[0] + point[0] * self.width * self.flip,
            self.centre[1] + point[1] * self.height,
        )

    @functools.cached_property
    def capsules(self) -> tuple[Capsule, ...]:
        """The outline in pixels."""
        return tuple(
            (*self.at((x1, y1)), *self.at((x2, y2)), r * self.width) for x1, y1, x2, y2, r in self.kind.outline
        )

    @functools.cached_property
    def box(self) -> Box:
        """Box around the outline, including hidden parts."""
        return capsule_box(self.capsules)

    @property
    def top(self) -> tuple[float, float, float, float]:
        """The segment that supports hips or feet, in pixels."""
        x1, y1, x2, y2 = self.kind.top
        return (*self.at((x1, y1)), *self.at((x2, y2)))

    @property
    def bottom(self) -> float:
        return self.box[3]

    @property
    def aim_circles(self) -> tuple[tuple[Point, float], ...]:
        """Target area of a gaze or a pointing arm."""
        return ((self.centre, 0.42 * math.sqrt(self.width * self.height)),)


def make_object(
    name: str, centre: Point, person_height: float, *, flip: int, colour: int, depth: float, scale: float = 1.0
) -> SceneObject:
    """An object of class `name`, sized for people of `person_height` pixels; `colour` picks a row of its palette."""
    kind = KINDS[name]
    palette = kind.colours
    return SceneObject(
        name, centre, kind.width * person_height * scale, kind.height * person_height * scale, flip,
        palette[colour % len(palette)], depth,
    )  # fmt: skip
