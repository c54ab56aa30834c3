"""Drawings of annotated people: masks, poses, body-part boxes, and input maps of the network."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw

from hoi_jax.schema import MERGED_PART_NAMES, PART_NAMES, PART_TO_MERGED
from hoi_jax.visualization import colours
from hoi_jax.visualization.attention import heat_colours
from hoi_jax.visualization.text_boxes import font

LIMBS = (
    (0, 1), (0, 2), (1, 3), (2, 4), (5, 6), (5, 7), (7, 9), (6, 8), (8, 10), (5, 11), (6, 12), (11, 12), (11, 13),
    (13, 15), (12, 14), (14, 16),
)  # fmt: skip
"""Pairs of joints (COCO order) that are connected by lines."""

SHARE = 0.5
"""Opacity of a mask's colour over the image."""


def over(
    image_rgb: UInt8[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"], colour: Sequence[int], share: float = SHARE
) -> UInt8[np.ndarray, "h w 3"]:
    """The image overlaid with a mask in one colour."""
    out = image_rgb.astype(np.float64)
    out[mask] = (1 - share) * out[mask] + share * np.array(colour, np.float64)
    return np.clip(np.round(out), 0, 255).astype(np.uint8)


def part_colour(merged: int) -> tuple[int, int, int]:
    """Colour of a merged part, the same in every panel."""
    return colours.SERIES[merged % len(colours.SERIES)]


def draw_masks(
    image_rgb: UInt8[np.ndarray, "h w 3"], masks: Bool[np.ndarray, "n h w"], people: Bool[np.ndarray, " n"],
    boxes: Float[np.ndarray, "n 4"],
) -> Image.Image:  # fmt: skip
    """The image with masks of people in one colour and of objects in others, and boxes as thin frames."""
    out = image_rgb
    for row, mask in enumerate(masks):
        out = over(out, mask, colours.PERSON if people[row] else colours.SERIES[row % len(colours.SERIES)])
    image = Image.fromarray(out)
    draw = ImageDraw.Draw(image)
    for row, box in enumerate(boxes):
        colour = colours.PERSON if people[row] else colours.SERIES[row % len(colours.SERIES)]
        draw.rectangle([float(side) for side in box], outline=colour, width=2)
    return image


def draw_poses(
    image_rgb: UInt8[np.ndarray, "h w 3"], keypoints: Float[np.ndarray, "n 17 3"], parts: Float[np.ndarray, "n 10 4"]
) -> Image.Image:
    """The image with skeletons and ten part boxes per person in the colours of the six merged parts.

    Parts without area are not drawn.
    """
    image = Image.fromarray(image_rgb)
    draw = ImageDraw.Draw(image)
    for person, pose in enumerate(keypoints):
        for part in range(len(PART_NAMES)):
            x1, y1, x2, y2 = (float(side) for side in parts[person, part])
            if x2 > x1 and y2 > y1:
                draw.rectangle((x1, y1, x2, y2), outline=part_colour(PART_TO_MERGED[part]), width=2)
        for first, second in LIMBS:
            if min(pose[first, 2], pose[second, 2]) > 0:
                ends = [tuple(float(v) for v in pose[joint, :2]) for joint in (first, second)]
                draw.line(ends, fill=colours.BLACK, width=5)
                draw.line(ends, fill=colours.WHITE, width=3)
        for x, y, score in pose:
            if score > 0:
                draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=colours.WHITE, outline=colours.BLACK)
    return image


def draw_part_cells(
    image_rgb: UInt8[np.ndarray, "h w 3"], cells: Bool[np.ndarray, "parts rows columns"], stride: int
) -> Image.Image:
    """The image with the grid cells under each merged part, later parts over earlier ones."""
    height, width = image_rgb.shape[:2]
    out = image_rgb
    for part, grid in enumerate(cells):
        out = over(out, np.kron(grid, np.ones((stride, stride), bool))[:height, :width], part_colour(part))
    image = Image.fromarray(out)
    draw = ImageDraw.Draw(image)
    for part, name in enumerate(MERGED_PART_NAMES):
        top = 4 + 18 * part
        draw.rectangle((4, top + 2, 16, top + 14), fill=part_colour(part), outline=colours.WHITE)
        draw.text((22, top), name, fill=colours.WHITE, font=font(14), stroke_width=2, stroke_fill=colours.BLACK)
    return image


def draw_map(values: Float[np.ndarray, "rows columns"], side: int) -> Image.Image:
    """A map in [0, 1] as colours, enlarged to a square without interpolation."""
    return Image.fromarray(heat_colours(values)).resize((side, side), Image.Resampling.NEAREST)


def panels(images: Mapping[str, Image.Image], *, height: int = 360) -> Image.Image:
    """Images scaled to one height, side by side, with their titles on top."""
    bar, gap = 24, 6
    scaled = {
        title: image.resize((max(round(image.width * height / image.height), 1), height), Image.Resampling.BILINEAR)
        for title, image in images.items()
    }
    width = sum(image.width for image in scaled.values()) + gap * (len(scaled) - 1)
    sheet = Image.new("RGB", (width, height + bar), colours.WHITE)
    draw, left = ImageDraw.Draw(sheet), 0
    for title, image in scaled.items():
        sheet.paste(image, (left, bar))
        draw.text((left + 2, 3), title, fill=colours.BLACK, font=font(15))
        left += image.width + gap
    return sheet
