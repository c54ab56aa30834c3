"""Drawings of interactions: people, objects, the links between them, verbs with scores.

All shapes have a dark and a light edge, so that they are visible on bright, dark and busy images; text is on filled
labels. Line widths and font size follow the size of the image, and small images are enlarged first.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from hoi_jax.evaluation.analysis.triplets import Box, Interaction
from hoi_jax.visualization import colours
from hoi_jax.visualization.colours import Colour
from hoi_jax.visualization.text_boxes import Rectangle, TextBlock, fit_text, font, place_label

SMALLEST_LONG_SIDE_PX = 640
SMALLEST_SHORT_SIDE_PX = 160
LARGEST_ENLARGED_SIDE_PX = 2048


def image_scale(width: int, height: int) -> float:
    """Factor by which an image is enlarged before drawing: above 1 only for small images."""
    long_side, short_side = max(width, height), min(width, height)
    wanted = max(SMALLEST_LONG_SIDE_PX / long_side, SMALLEST_SHORT_SIDE_PX / short_side, 1.0)
    return max(1.0, min(wanted, max(LARGEST_ENLARGED_SIDE_PX / long_side, 1.0)))


def _lines_of(interaction: Interaction, max_verbs: int) -> list[str]:
    name = interaction.object_name.replace("_", " ") if interaction.object_xyxy_px is not None else ""
    lines = []
    for verb, score in interaction.verbs[:max_verbs]:
        words = " ".join(w for w in (verb.replace("_", " "), name) if w)
        lines.append(words if score is None else f"{words}  {score:.2f}")
    hidden = len(interaction.verbs) - max_verbs
    return [*lines, f"and {hidden} more"] if hidden > 0 else lines


def _centre(box: Box) -> tuple[float, float]:
    return ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)


def _box_outline(draw: ImageDraw.ImageDraw, box: Box, colour: Colour, width: int) -> None:
    x1, x2 = sorted((box[0], box[2]))
    y1, y2 = sorted((box[1], box[3]))
    for grow, edge, thickness in ((1, colours.BLACK, width + 2), (0, colour, width)):
        draw.rectangle((x1 - grow, y1 - grow, x2 + grow, y2 + grow), outline=edge, width=thickness)
    inner = width
    if x2 - x1 > 4 * inner and y2 - y1 > 4 * inner:
        draw.rectangle((x1 + inner, y1 + inner, x2 - inner, y2 - inner), outline=colours.WHITE, width=1)


def _link(draw: ImageDraw.ImageDraw, start: Box, end: Box, colour: Colour, width: int) -> None:
    ends = [_centre(start), _centre(end)]
    for edge, thickness in ((colours.BLACK, width + 4), (colours.WHITE, width + 2), (colour, width)):
        draw.line(ends, fill=edge, width=thickness)
        radius = thickness + width
        for x, y in ends:
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=edge)


def _label(draw: ImageDraw.ImageDraw, place: Rectangle, block: TextBlock, fill: Colour) -> None:
    ink = colours.readable_on(fill)
    draw.rectangle((place[0], place[1], place[2] - 1, place[3] - 1), fill=fill, outline=ink, width=1)
    for row, line in enumerate(block.lines):
        corner = (place[0] + block.margin, place[1] + block.margin + row * block.line_height)
        draw.text(corner, line, fill=ink, font=font(block.font_size), stroke_width=0)


def _verdict_colour(interaction: Interaction, index: int) -> Colour:
    if interaction.correct is None:
        return colours.SERIES[index % len(colours.SERIES)]
    return colours.RIGHT if interaction.correct else colours.WRONG


def draw_interactions(
    image_rgb: np.ndarray,
    interactions: Sequence[Interaction],
    *,
    max_verbs: int = 4,
    title: str = "",
) -> Image.Image:
    """Draw interactions on a copy of an image.

    People are blue and objects yellow, each drawn once even if in several pairs. A link and its label share a colour:
    green for a right prediction, red for a wrong one, and one colour per pair where `correct` is None.

    Args:
      image_rgb: [H, W, 3] uint8.
      interactions: strongest first, since earlier labels get the better places.
      max_verbs: maximum number of verbs per label; one more line has the number of further ones.
      title: text of a dark label at the top left; "" = none.

    Returns:
      An RGB image, enlarged by `image_scale`.

    Raises:
      ValueError: the array is not an image or a box is not finite; the message has it.
    """
    if image_rgb.ndim != 3 or image_rgb.shape[2] != 3 or image_rgb.dtype != np.uint8 or not image_rgb.size:
        raise ValueError(f"expected a [H, W, 3] uint8 image, got {image_rgb.shape} {image_rgb.dtype}")
    height, width = image_rgb.shape[:2]
    scale = image_scale(width, height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    canvas = Image.fromarray(image_rgb)
    canvas = canvas if scale == 1 else canvas.resize(size, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(canvas)
    font_size = int(np.clip(round(max(size) / 34), 16, 96))
    line_width = max(2, round(max(size) / 320))

    scaled = [_scaled(interaction, scale, size) for interaction in interactions]
    _draw_shapes(draw, scaled, line_width)
    taken = _small_objects(scaled, size)
    if title:
        block = fit_text([title], font_size=font_size, max_width=size[0])
        place = (0, 0, block.width, block.height)
        _label(draw, place, block, colours.BLACK)
        taken.append(place)
    for index, interaction in enumerate(scaled):
        lines = _lines_of(interaction, max_verbs)
        if lines:
            block = fit_text(lines, font_size=font_size, max_width=size[0])
            anchor = _label_anchor(interaction, scaled)
            place = place_label(anchor, (block.width, block.height), size, taken)
            _label(draw, place, block, _verdict_colour(interaction, index))
            taken.append(place)
    return canvas


def _small_objects(interactions: Sequence[Interaction], size: tuple[int, int]) -> list[Rectangle]:
    """Objects small enough to be hidden by a label, which labels have to avoid."""
    boxes = dict.fromkeys(i.object_xyxy_px for i in interactions if i.object_xyxy_px is not None)
    return [b for b in boxes if (b[2] - b[0]) * (b[3] - b[1]) < 0.015 * size[0] * size[1]]


def _label_anchor(interaction: Interaction, every: Sequence[Interaction]) -> Box:
    """Box at which the label is placed: the object, or the person if several people share the object."""
    box = interaction.object_xyxy_px
    if box is None or sum(other.object_xyxy_px == box for other in every) > 1:
        return interaction.human_xyxy_px
    return box


def _draw_shapes(draw: ImageDraw.ImageDraw, interactions: Sequence[Interaction], line_width: int) -> None:
    people = dict.fromkeys(i.human_xyxy_px for i in interactions)
    objects = dict.fromkeys(i.object_xyxy_px for i in interactions if i.object_xyxy_px is not None)
    for box in people:
        _box_outline(draw, box, colours.PERSON, line_width)
    for box in objects:
        _box_outline(draw, box, colours.OBJECT, line_width)
    for index, interaction in reversed(list(enumerate(interactions))):
        if interaction.object_xyxy_px is not None:
            colour = _verdict_colour(interaction, index)
            _link(draw, interaction.human_xyxy_px, interaction.object_xyxy_px, colour, line_width)


def _scaled(interaction: Interaction, scale: float, size: tuple[int, int]) -> Interaction:
    """The interaction in pixels of the enlarged image, with clipped boxes."""

    def scaled(box: Box | None) -> Box | None:
        if box is None:
            return None
        corners = np.asarray(box, np.float64)
        if corners.shape != (4,) or not np.all(np.isfinite(corners)):
            raise ValueError(f"box to draw is {box}, expected four finite numbers")
        corners = np.clip(corners * scale, 0, [size[0] - 1, size[1] - 1] * 2)
        x1, y1, x2, y2 = corners.tolist()
        return (x1, y1, x2, y2)

    human = scaled(interaction.human_xyxy_px)
    assert human is not None  # required by the type
    return dataclasses.replace(interaction, human_xyxy_px=human, object_xyxy_px=scaled(interaction.object_xyxy_px))
