"""Appearance of every kind of object: rows for `draw` in object coordinates, given the body colour.

Outlines agree with the contact capsules in `objects.KINDS`; lines and radii are shares of the width.
"""

from collections.abc import Callable
from typing import Any

from hoi_jax.scenes.people import Colour

BLACK, WHITE, GREY, STEEL = (20, 20, 22), (250, 250, 250), (120, 120, 125), (185, 190, 200)
WOOD, SCREEN, LEAF, TYRE = (150, 100, 50), (90, 200, 255), (40, 140, 40), (45, 45, 50)

Rows = tuple[Any, ...]  # tuples with different fields, see draw._strokes


def _dark(colour: Colour) -> Colour:
    return (int(colour[0] * 0.65), int(colour[1] * 0.65), int(colour[2] * 0.65))


def _ball(c: Colour) -> Rows:
    return (
        ("dot", 0, 0, 0.5, BLACK), ("dot", 0, 0, 0.43, c), ("dot", 0, 0, 0.17, BLACK),
        ("line", 0.08, BLACK, (0, 0), (0.3, 0.3)), ("line", 0.08, BLACK, (0, 0), (-0.38, 0.15)),
        ("line", 0.08, BLACK, (0, 0), (0.05, -0.4)),
    )  # fmt: skip


def _wheel(x: float, y: float) -> Rows:
    return (("dot", x, y, 0.2, TYRE), ("dot", x, y, 0.155, STEEL), ("dot", x, y, 0.03, TYRE))


def _bicycle(c: Colour) -> Rows:
    return (
        *_wheel(-0.29, 0.21), *_wheel(0.29, 0.21),
        ("line", 0.05, c, (-0.29, 0.21), (-0.12, -0.22), (0.2, -0.22), (0.0, 0.2), (-0.29, 0.21)),
        ("line", 0.05, c, (0.29, 0.21), (0.19, -0.45)), ("line", 0.05, c, (0.0, 0.2), (-0.15, -0.3)),
        ("line", 0.05, BLACK, (-0.23, -0.33), (-0.07, -0.33)), ("line", 0.05, BLACK, (0.11, -0.45), (0.26, -0.45)),
    )  # fmt: skip


def _horse(c: Colour) -> Rows:
    dark = _dark(c)
    return (
        ("line", 0.06, dark, (-0.38, -0.1), (-0.46, 0.2)),
        ("line", 0.06, dark, (-0.2, 0.0), (-0.18, 0.48)), ("line", 0.06, dark, (0.14, 0.0), (0.12, 0.48)),
        ("dot", -0.26, -0.06, 0.15, c), ("dot", 0.16, -0.06, 0.15, c),
        ("line", 0.3, c, (-0.26, -0.06), (0.16, -0.06)),
        ("line", 0.06, c, (-0.3, 0.0), (-0.3, 0.48)), ("line", 0.06, c, (0.23, 0.0), (0.24, 0.48)),
        ("line", 0.14, c, (0.2, -0.1), (0.36, -0.4)), ("dot", 0.36, -0.39, 0.07, c),
        ("line", 0.1, c, (0.36, -0.38), (0.46, -0.28)), ("dot", 0.45, -0.28, 0.05, dark),
        ("line", 0.05, dark, (0.14, -0.18), (0.3, -0.47)), ("poly", dark, (0.31, -0.44), (0.36, -0.53), (0.38, -0.43)),
        ("dot", 0.38, -0.39, 0.018, WHITE),
    )  # fmt: skip


def _bench(c: Colour) -> Rows:
    return (
        ("line", 0.06, _dark(c), (-0.36, -0.3), (-0.36, 0.48)), ("line", 0.06, _dark(c), (0.36, -0.3), (0.36, 0.48)),
        ("line", 0.035, _dark(c), (-0.36, 0.15), (0.36, 0.15)),
        ("line", 0.085, c, (-0.49, -0.38), (0.49, -0.38)), ("line", 0.02, _dark(c), (-0.49, -0.36), (0.49, -0.36)),
    )  # fmt: skip


def _chair(c: Colour) -> Rows:
    return (
        ("line", 0.13, _dark(c), (-0.42, 0.0), (-0.42, 0.5)), ("line", 0.12, _dark(c), (0.4, 0.06), (0.4, 0.5)),
        ("line", 0.14, c, (-0.42, -0.5), (-0.42, 0.05)), ("line", 0.16, c, (-0.48, 0.04), (0.48, 0.04)),
    )  # fmt: skip


def _cup(c: Colour) -> Rows:
    return (
        ("dot", 0.32, 0.0, 0.2, _dark(c)), ("dot", 0.32, 0.0, 0.1, WHITE),
        ("poly", _dark(c), (-0.42, -0.5), (0.34, -0.5), (0.26, 0.5), (-0.34, 0.5)),
        ("poly", c, (-0.34, -0.4), (0.26, -0.4), (0.2, 0.42), (-0.28, 0.42)),
        ("line", 0.16, (60, 30, 20), (-0.38, -0.42), (0.3, -0.42)),
    )  # fmt: skip


def _apple(c: Colour) -> Rows:
    return (
        ("line", 0.1, WOOD, (0.0, -0.3), (0.08, -0.55)), ("dot", -0.14, 0.04, 0.34, c, 0.44),
        ("dot", 0.14, 0.04, 0.34, c, 0.44), ("dot", 0.26, -0.42, 0.16, LEAF, 0.09), ("dot", -0.2, -0.1, 0.08, WHITE),
    )  # fmt: skip


def _hat(c: Colour) -> Rows:
    return (
        ("poly", c, (-0.26, 0.3), (-0.22, -0.48), (0.22, -0.48), (0.26, 0.3)),
        ("line", 0.08, (230, 200, 60), (-0.26, 0.15), (0.26, 0.15)),
        ("dot", 0.0, 0.36, 0.5, c, 0.16),
    )  # fmt: skip


def _bag(c: Colour) -> Rows:
    return (
        ("line", 0.07, _dark(c), (-0.22, -0.05), (-0.17, -0.38), (0.17, -0.38), (0.22, -0.05)),
        ("poly", c, (-0.4, -0.12), (0.4, -0.12), (0.48, 0.48), (-0.48, 0.48)),
        ("line", 0.08, _dark(c), (-0.44, 0.08), (0.44, 0.08)), ("dot", 0.0, 0.1, 0.08, (240, 210, 70)),
    )  # fmt: skip


def _phone(c: Colour) -> Rows:
    return (
        ("poly", c, (-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)),
        ("poly", SCREEN, (-0.36, -0.38), (0.36, -0.38), (0.36, 0.3), (-0.36, 0.3)),
    )  # fmt: skip


def _umbrella(c: Colour) -> Rows:
    return (
        ("line", 0.035, BLACK, (0.0, -0.3), (0.0, 0.5)), ("line", 0.035, BLACK, (0.0, 0.49), (0.07, 0.45)),
        ("poly", c, (-0.5, -0.2), (-0.38, -0.36), (-0.18, -0.48), (0.0, -0.52), (0.18, -0.48), (0.38, -0.36),
         (0.5, -0.2), (0.25, -0.25), (0.0, -0.2), (-0.25, -0.25)),
        ("poly", WHITE, (-0.1, -0.48), (0.1, -0.48), (0.14, -0.23), (0.0, -0.2), (-0.14, -0.23)),
    )  # fmt: skip


def _dog(c: Colour) -> Rows:
    dark = _dark(c)
    return (
        ("line", 0.06, c, (-0.3, -0.05), (-0.44, -0.3)),
        ("line", 0.075, dark, (-0.16, 0.05), (-0.15, 0.48)), ("line", 0.075, dark, (0.08, 0.05), (0.07, 0.48)),
        ("line", 0.075, c, (-0.25, 0.05), (-0.26, 0.48)), ("line", 0.075, c, (0.15, 0.05), (0.16, 0.48)),
        ("dot", -0.22, 0.0, 0.12, c), ("dot", 0.14, 0.0, 0.12, c), ("line", 0.24, c, (-0.22, 0.0), (0.14, 0.0)),
        ("line", 0.17, c, (0.16, -0.02), (0.3, -0.28)), ("dot", 0.3, -0.28, 0.115, c),
        ("line", 0.12, c, (0.32, -0.24), (0.44, -0.18)), ("dot", 0.46, -0.19, 0.035, BLACK),
        ("poly", dark, (0.2, -0.38), (0.3, -0.42), (0.22, -0.1)), ("dot", 0.33, -0.32, 0.022, BLACK),
    )  # fmt: skip


def _skateboard(c: Colour) -> Rows:
    return (
        ("dot", -0.28, 0.3, 0.055, BLACK), ("dot", 0.28, 0.3, 0.055, BLACK),
        ("line", 0.11, c, (-0.38, -0.15), (0.38, -0.15)),
        ("line", 0.08, c, (-0.38, -0.15), (-0.48, -0.35)), ("line", 0.08, c, (0.38, -0.15), (0.48, -0.35)),
    )  # fmt: skip


def _cart(c: Colour) -> Rows:
    return (
        ("line", 0.06, GREY, (-0.46, -0.3), (-0.25, -0.05)),
        ("poly", c, (-0.29, -0.27), (0.49, -0.27), (0.45, 0.25), (-0.24, 0.25)),
        ("line", 0.03, _dark(c), (-0.27, -0.1), (0.48, -0.1)), ("line", 0.03, _dark(c), (-0.26, 0.08), (0.47, 0.08)),
        *(row for x in (-0.1, 0.3) for row in (("dot", x, 0.32, 0.11, TYRE), ("dot", x, 0.32, 0.05, STEEL))),
    )  # fmt: skip


APPEARANCES: dict[str, Callable[[Colour], Rows]] = {
    "ball": _ball, "bicycle": _bicycle, "horse": _horse, "bench": _bench, "chair": _chair, "cup": _cup,
    "apple": _apple, "hat": _hat, "bag": _bag, "phone": _phone, "umbrella": _umbrella, "dog": _dog,
    "skateboard": _skateboard, "cart": _cart,
}  # fmt: skip
