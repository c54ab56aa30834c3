"""Drawings of attention maps: the pair, the chosen body parts, and the mask and attention of each layer.

A cell of the model's grid is a square of the image. Masks darken the cells that a layer may not attend to; attention
brightens cells by their weight, relative to the strongest of the layer. Cells are never blurred.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image, ImageDraw

from hoi_jax.evaluation.analysis.triplets import Box, Interaction
from hoi_jax.evaluation.metrics.matching import matched_iou
from hoi_jax.schema import MERGED_PART_NAMES
from hoi_jax.visualization import colours
from hoi_jax.visualization.colours import Colour
from hoi_jax.visualization.interactions import draw_interactions
from hoi_jax.visualization.text_boxes import fit_text, font
from hoi_jax.vocab import Vocabulary

PANEL_PX = 380
"""Width in pixels of one image in the table."""
GAP_PX = 14
SEEN: Colour = (0, 190, 160)
LEGEND = (
    "upper row: what a layer may attend to;",
    "all other cells are dark",
    "lower row: what it attends to,",
    "red a little, yellow the most",
)
DARK = 0.22
"""Brightness factor of cells outside a mask."""


@dataclasses.dataclass(frozen=True)
class PairAttention:
    """One pair and its attention maps.

    Attributes:
      image_rgb: the unpadded image.
      pair: boxes and their labels.
      score: interactiveness of the pair, or the score of `verb`.
      part_names, part_scores, part_chosen: per body part; empty without parts.
      titles: one per layer.
      allowed, weights: per layer, the cells that could be attended to and the attention on them.
      cell_px: side of a cell, where the grid may extend beyond the image; None = the grid covers the image exactly.
      verb: verb by whose score the pair was chosen; "" = it was chosen by interactiveness.
      captions: meaning of the weights, one per layer; empty = attention.
      legend: explanation of the rows of the drawing.
    """

    image_rgb: UInt8[np.ndarray, "height width 3"]
    pair: Interaction
    score: float
    part_names: tuple[str, ...]
    part_scores: tuple[float, ...]
    part_chosen: tuple[bool, ...]
    titles: tuple[str, ...]
    allowed: Bool[np.ndarray, "layers rows columns"]
    weights: Float[np.ndarray, "layers rows columns"]
    cell_px: int | None
    verb: str = ""
    captions: tuple[str, ...] = ()
    legend: tuple[str, ...] = LEGEND


def attention_caption(seen: PairAttention) -> str:
    """Caption of the drawing of a pair."""
    name = seen.pair.object_name.replace("_", " ") or "no object"
    return f"{seen.verb} {name}: {seen.score:.2f}" if seen.verb else f"{name}: interacts {seen.score:.2f}"


def cells_to_pixels(grid: np.ndarray, cell_px: int | None, height: int, width: int) -> np.ndarray:
    """[rows, columns] -> [height, width], each pixel with the value of its cell; see `PairAttention.cell_px`."""
    if cell_px is None:
        y, x = (np.arange(side) * count // side for side, count in zip((height, width), grid.shape, strict=True))
        return grid[y][:, x]
    return np.repeat(np.repeat(grid, cell_px, axis=0), cell_px, axis=1)[:height, :width]


def mask_overlay(
    image_rgb: UInt8[np.ndarray, "height width 3"], allowed: Bool[np.ndarray, "rows columns"], cell_px: int | None
) -> UInt8[np.ndarray, "height width 3"]:
    """The image with allowed cells tinted green and all others dark grey."""
    inside = cells_to_pixels(allowed, cell_px, *image_rgb.shape[:2])[..., None]
    grey = image_rgb.mean(axis=-1, keepdims=True) * DARK
    tinted = 0.7 * image_rgb + 0.3 * np.array(SEEN)
    return np.where(inside, tinted, grey).astype(np.uint8)


def attention_overlay(
    image_rgb: UInt8[np.ndarray, "height width 3"], weights: Float[np.ndarray, "rows columns"], cell_px: int | None
) -> UInt8[np.ndarray, "height width 3"]:
    """The image in dark grey with cells coloured from red to yellow by their weight; grey where all weights are 0."""
    share = weights / weights.max() if weights.max() > 0 else np.zeros_like(weights)
    # The square root keeps weak cells visible, since most of the hundreds of weights are far below the largest.
    light = np.sqrt(cells_to_pixels(share, cell_px, *image_rgb.shape[:2]))[..., None]
    grey = image_rgb.mean(axis=-1, keepdims=True) * np.ones(3)
    heat = np.concatenate([np.full_like(light, 255.0), 230.0 * light**2, np.full_like(light, 20.0)], axis=-1)
    return ((1 - light) * 0.35 * grey + light * (0.45 * grey + 0.55 * heat)).astype(np.uint8)


def draw_attention(seen: PairAttention) -> Image.Image:
    """A table with the pair and body parts on top, and below a column per layer with its mask and attention."""
    height, width = seen.image_rgb.shape[:2]
    size = (PANEL_PX, round(PANEL_PX * height / width))
    columns = max(2 + bool(seen.part_names), len(seen.titles))
    title_px = 46
    total = (columns * (PANEL_PX + GAP_PX) + GAP_PX, 2 * title_px + 3 * (size[1] + title_px) + GAP_PX)
    canvas = Image.new("RGB", total, colours.WHITE)
    draw = ImageDraw.Draw(canvas)

    def put(image: np.ndarray | Image.Image, column: int, top: int, title: str) -> int:
        left = GAP_PX + column * (PANEL_PX + GAP_PX)
        block = fit_text([title], font_size=19, max_width=PANEL_PX, smallest=12)
        draw.text((left, top + 18), block.lines[0], fill=colours.BLACK, font=font(block.font_size))
        if isinstance(image, np.ndarray):
            image = Image.fromarray(image)
        canvas.paste(image.resize(size, Image.Resampling.LANCZOS), (left, top + title_px))
        return top + title_px + size[1]

    drawn = draw_interactions(seen.image_rgb, [dataclasses.replace(seen.pair, verbs=())])
    name = seen.pair.object_name.replace("_", " ") or "no object"
    below = put(drawn, 0, 0, f"person (blue) and {name} (yellow)")
    left = GAP_PX + PANEL_PX + GAP_PX
    if seen.part_names:
        draw.text((left, 18), "body parts: score, chosen ones green", fill=colours.BLACK, font=font(19))
        _part_bars(draw, seen, left, title_px)
        left += PANEL_PX + GAP_PX
    said = f"{seen.verb} {name}" if seen.verb else "this pair interacts"
    for number, line in enumerate((f"{said}: {seen.score:.2f}", *seen.legend)):
        draw.text((left, 18 + 28 * number), line, fill=colours.BLACK, font=font(19 if number == 0 else 16))
    lower = seen.captions or tuple(f"attention of layer {number}" for number in range(1, len(seen.titles) + 1))
    heading = ((seen.titles, mask_overlay, seen.allowed), (lower, attention_overlay, seen.weights))
    for titles, overlay, grids in heading:
        end = below
        for column, title in enumerate(titles):
            image = _with_boxes(overlay(seen.image_rgb, grids[column], seen.cell_px), seen.pair)
            end = put(image, column, below, title)
        below = end
    return canvas.crop((0, 0, total[0], below + GAP_PX))


def _with_boxes(photo: np.ndarray, pair: Interaction) -> Image.Image:
    """Thin outlines of the pair's boxes, so that cells stay visible."""
    image = Image.fromarray(photo)
    draw = ImageDraw.Draw(image)
    limit = (image.width - 1, image.height - 1)
    for box, colour in ((pair.object_xyxy_px, colours.OBJECT), (pair.human_xyxy_px, colours.PERSON)):
        if box is not None:
            low, high = np.clip(box[:2], 0, limit), np.clip(box[2:], 0, limit)
            draw.rectangle((*np.minimum(low, high), *np.maximum(low, high)), outline=colour, width=_line(image.width))
    return image


def _line(width: int) -> int:
    return max(1, round(2 * width / PANEL_PX))


def _part_bars(draw: ImageDraw.ImageDraw, seen: PairAttention, left: int, top: int) -> None:
    """Draw one bar per body part, with its score as length."""
    name_px, row_px, longest = 70, 34, PANEL_PX - 150
    for row, (name, score, chosen) in enumerate(zip(seen.part_names, seen.part_scores, seen.part_chosen, strict=True)):
        y = top + row * row_px
        draw.text((left, y + 4), name, fill=colours.BLACK, font=font(18))
        length = max(1, round(longest * score))
        fill = colours.RIGHT if chosen else (190, 194, 200)
        draw.rectangle((left + name_px, y, left + name_px + length, y + row_px - 10), fill=fill)
        words = f"{score:.2f} chosen" if chosen else f"{score:.2f}"
        draw.text((left + name_px + length + 6, y + 4), words, fill=colours.BLACK, font=font(16))


def strongest_pairs(
    score: Float[np.ndarray, " queries"], human: np.ndarray, obj: np.ndarray, count: int, overlap: float = 0.5
) -> list[int]:
    """Rows of the `count` best pairs, best first, without those that overlap a better one (IoU of both boxes)."""
    chosen: list[int] = []
    for row in np.argsort(-score, kind="stable"):
        if len(chosen) == count:
            break
        repeats = [
            min(matched_iou(human[row][None], human[old][None])[0], matched_iou(obj[row][None], obj[old][None])[0])
            for old in chosen
        ]
        if max(repeats, default=0.0) <= overlap:
            chosen.append(int(row))
    return chosen


def attention_of_pairs(
    predictions: Mapping[str, np.ndarray],
    seen: Mapping[str, np.ndarray],
    batch: Mapping[str, np.ndarray],
    row: int,
    vocabulary: Vocabulary,
    titles: Sequence[str],
    cell_px: int | None,
    count: int,
    *,
    captions: Sequence[str] = (),
    legend: Sequence[str] = (),
) -> list[PairAttention]:
    """The strongest pairs of one image of a batch, by interactiveness or, without it, by their best verb score.

    Args:
      predictions, seen: results of `System.predict` and `AttentionMaps.explain` for the whole batch, on the host.
      row: row of the image in the batch.
      titles, cell_px, captions, legend: fields of the `AttentionMaps`.

    Raises:
      ValueError: the predictions have no interactiveness and no verbs.
    """
    if "interactiveness" not in predictions and "verb_scores" not in predictions:
        raise ValueError("the predictions have neither interactiveness nor verb scores to choose pairs by")
    height, width = batch["image_hw_px"][row]
    rows, columns = seen["weights"].shape[-2:] if cell_px is None else (-(-height // cell_px), -(-width // cell_px))
    used = predictions["pair_valid"][row] if "pair_valid" in predictions else True
    by_verb = "interactiveness" not in predictions
    if by_verb:
        verbs = np.array(predictions["verb_scores"][row])
        if vocabulary.no_interaction >= 0:
            verbs[:, vocabulary.no_interaction] = -np.inf  # has no informative maps
        verb, score = verbs.argmax(axis=-1), verbs.max(axis=-1)
    else:
        verb, score = None, predictions["interactiveness"][row]
    strength = np.where(used, score, -np.inf)
    human, obj = (predictions[f"{name}_xyxy_px"][row].astype(np.float64) for name in ("human", "object"))
    part_scores = predictions.get("part_scores")
    found = []
    for query in strongest_pairs(strength, human, np.nan_to_num(obj), count):
        if not strength[query] > -np.inf:
            continue
        label = int(predictions["object_class"][row, query])
        pair = Interaction(
            human_xyxy_px=_corners(human[query]),
            object_xyxy_px=_corners(obj[query]) if np.isfinite(obj[query]).all() else None,
            object_name=vocabulary.objects[label] if label >= 0 else "",
            verbs=(("", float(predictions["object_score"][row, query])),),
        )
        chosen = seen["chosen"][row, query] if "chosen" in seen and part_scores is not None else np.zeros(0, bool)
        names = MERGED_PART_NAMES[: len(chosen)]
        scores = part_scores[row, query] if part_scores is not None and len(chosen) else np.zeros(0)
        found.append(
            PairAttention(
                image_rgb=batch["image"][row, :height, :width],
                pair=pair,
                score=float(score[query]),
                verb="" if verb is None else vocabulary.verb_words(int(verb[query])),
                captions=tuple(captions),
                legend=tuple(legend) or LEGEND,
                part_names=names,
                part_scores=tuple(scores.tolist()),
                part_chosen=tuple(chosen.tolist()),
                titles=tuple(titles),
                allowed=seen["allowed"][row, query, :, :rows, :columns],
                weights=seen["weights"][row, query, :, :rows, :columns],
                cell_px=cell_px,
            )
        )
    return found


def _corners(box: np.ndarray) -> Box:
    x1, y1, x2, y2 = box.tolist()
    return (x1, y1, x2, y2)


# Heat maps: a number per pixel as a colour from dark blue (small) to yellow (large).

STOPS = np.array([[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]], np.float64)
"""Colours from low to high, with rising brightness, so that the map is readable without colour."""


def closeness_map(
    distance: Float[np.ndarray, " total"], level_hw: Sequence[tuple[int, int]], anchors: int, strides: Sequence[int]
) -> Float[np.ndarray, "height width"]:
    """exp(-distance) per pixel, for the closest of all anchors of the nearest cells, over all levels.

    The anchors of cell (x, y) are centred at (x * stride, y * stride), so a cell covers the pixels around that point.

    Args:
      distance: distance of each anchor, in the order of `ops.anchors`.
      level_hw, strides: grid size and pixels per cell of every level.
      anchors: number of anchors per cell.
    """
    height, width = level_hw[0][0] * strides[0], level_hw[0][1] * strides[0]
    nearest, start = np.full((height, width), np.inf), 0
    for (rows, columns), stride in zip(level_hw, strides, strict=True):
        count = rows * columns * anchors
        cells = distance[start : start + count].reshape(rows, columns, anchors).min(axis=-1)
        nearest = np.minimum(nearest, cells[_nearest(height, stride, rows)][:, _nearest(width, stride, columns)])
        start += count
    return np.exp(-nearest)


def _nearest(pixels: int, stride: int, cells: int) -> Int[np.ndarray, " pixels"]:
    """The cell with its centre nearest to the centre of each pixel."""
    return np.minimum(((np.arange(pixels) + 0.5) / stride + 0.5).astype(int), cells - 1)


def heat_colours(values: Float[np.ndarray, "height width"]) -> UInt8[np.ndarray, "height width 3"]:
    """Values as colours, clipped to [0, 1]."""
    place = np.clip(values, 0, 1) * (len(STOPS) - 1)
    channels = [np.interp(place, np.arange(len(STOPS)), STOPS[:, c]) for c in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def heat_over(
    image_rgb: UInt8[np.ndarray, "height width 3"],
    values: Float[np.ndarray, "height width"],
    frame_xyxy_px: Sequence[float] | np.ndarray | None = None,
    *,
    size: tuple[int, int] | None = None,
    strength: float = 0.7,
) -> Image.Image:
    """The image in grey, overlaid with the colours of `values`, and a white frame around one box.

    Args:
      size: width and height of the result; default: those of the image.
      strength: weight of the colours against the image, in [0, 1].
    """
    if values.shape != image_rgb.shape[:2]:
        raise ValueError(f"values have shape {values.shape}, the image has {image_rgb.shape[:2]}")
    grey = image_rgb.mean(axis=-1, keepdims=True)
    mixed = strength * heat_colours(values) + (1 - strength) * grey
    canvas = Image.fromarray(mixed.round().astype(np.uint8))
    size = size or (canvas.width, canvas.height)
    scale = size[0] / canvas.width, size[1] / canvas.height
    canvas = canvas.resize(size, Image.Resampling.NEAREST)
    if frame_xyxy_px is not None:
        x1, y1, x2, y2 = (float(c) * scale[i % 2] for i, c in enumerate(frame_xyxy_px))
        thick = max(2, round(max(size) / 200))
        draw = ImageDraw.Draw(canvas)
        draw.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), outline=(0, 0, 0), width=thick + 2)
        draw.rectangle((x1, y1, x2, y2), outline=(255, 255, 255), width=thick)
    return canvas
