"""Drawings of relation segmentation: masks and their relations (Cascaded HOI Recognition, Figure 5)."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from hoi_jax.evaluation.analysis.triplets import Interaction
from hoi_jax.evaluation.metrics.pic import Scene
from hoi_jax.evaluation.metrics.scene_maps import scene_of_predictions
from hoi_jax.visualization import colours
from hoi_jax.visualization.interactions import draw_interactions
from hoi_jax.vocab.tables import Vocabulary

SHARE = 0.55
"""Opacity of a mask's colour over the image."""
LEAST_DRAWN = 0.05
"""Smallest score of a drawn verb; most pairs do not interact, and their best verbs are not worth drawing."""


def scene_of_row(
    found: Mapping[str, np.ndarray], batch: Mapping[str, np.ndarray], row: int, vocabulary: Vocabulary
) -> Scene:
    """One image of a predicted batch as a scene of the original image, without relations of no interaction.

    Raises:
      ValueError: the predictions have no instance masks.
    """
    height, width = batch["image"].shape[1:3]
    return scene_of_predictions(
        {name: value[row] for name, value in found.items()},
        batch["image_hw_px"][row],
        (height, width),
        batch["original_hw_px"][row],
        no_interaction=vocabulary.no_interaction,
    )


def draw_row(
    scene: Scene, batch: Mapping[str, np.ndarray], row: int, vocabulary: Vocabulary, min_score: float = LEAST_DRAWN
) -> Image.Image:
    """The scene drawn over its image from the batch, in the original size."""
    height, width = (int(side) for side in batch["image_hw_px"][row])
    seen = Image.fromarray(batch["image"][row][:height, :width])
    seen = seen.resize(scene.instance.shape[::-1], Image.Resampling.BICUBIC)
    return draw_segments(np.asarray(seen), scene, vocabulary, min_score=min_score)


def tinted(image_rgb: UInt8[np.ndarray, "h w 3"], scene: Scene, human_class: int) -> UInt8[np.ndarray, "h w 3"]:
    """The image overlaid with instance masks: people in one colour, objects in others, with edges between them."""
    out = image_rgb.astype(np.float64)
    edges = np.zeros(scene.instance.shape, bool)
    edges[:, 1:] |= scene.instance[:, 1:] != scene.instance[:, :-1]
    edges[1:] |= scene.instance[1:] != scene.instance[:-1]
    for number in np.unique(scene.instance[scene.instance > 0]):
        inside = scene.instance == number
        person = scene.semantic[inside].max() == human_class + 1
        colour = colours.PERSON if person else colours.SERIES[int(number) % len(colours.SERIES)]
        out[inside] = (1 - SHARE) * out[inside] + SHARE * np.array(colour)
    out[edges] = colours.WHITE
    return np.clip(np.round(out), 0, 255).astype(np.uint8)


def draw_segments(
    image_rgb: UInt8[np.ndarray, "h w 3"],
    scene: Scene,
    vocabulary: Vocabulary,
    *,
    links: int = 4,
    min_score: float = 0.0,
    title: str = "",
) -> Image.Image:
    """Masks of a scene with its best `links` pairs and their verbs of at least `min_score`.

    The boxes are those of the visible masks.

    Raises:
      ValueError: scene and image have different sizes.
    """
    if scene.instance.shape != image_rgb.shape[:2]:
        raise ValueError(f"the scene has size {scene.instance.shape}, the image has {image_rgb.shape[:2]}")
    pairs: dict[tuple[int, int], list[tuple[str, float | None]]] = {}
    for row in np.argsort(-scene.scores, kind="stable"):
        human, obj, verb = (int(n) for n in scene.relations[row])
        if scene.scores[row] >= min_score and (scene.instance == human).any() and (scene.instance == obj).any():
            pairs.setdefault((human, obj), []).append((vocabulary.verbs[verb - 1], float(scene.scores[row])))
    drawn = [
        Interaction(_box(scene, human), _box(scene, obj), _name(scene, obj, vocabulary), tuple(verbs))
        for (human, obj), verbs in list(pairs.items())[:links]
    ]
    return draw_interactions(tinted(image_rgb, scene, vocabulary.human_class), drawn, max_verbs=3, title=title)


def _box(scene: Scene, number: int) -> tuple[float, float, float, float]:
    y, x = np.nonzero(scene.instance == number)
    return float(x.min()), float(y.min()), float(x.max() + 1), float(y.max() + 1)


def _name(scene: Scene, number: int, vocabulary: Vocabulary) -> str:
    return vocabulary.objects[int(scene.semantic[scene.instance == number].max()) - 1]
