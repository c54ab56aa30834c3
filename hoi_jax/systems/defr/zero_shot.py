"""DEFR straight from a CLIP checkpoint: no training, no workdir, classes given as text.

The class token of the image tower and the text vectors brought back through the image projection, as DEFR starts.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from hoi_jax.files.state import read_state
from hoi_jax.io import DataError
from hoi_jax.systems.defr.convert import POOL_POSITIONS, VIT_POSITIONS, backbone_arrays
from hoi_jax.systems.defr.embeddings import as_tree, load_encoder
from hoi_jax.systems.defr.open_vocabulary import phrase_rows, phrase_vocabulary
from hoi_jax.vocab.custom import activity_vocabulary
from hoi_jax.vocab.tables import Vocabulary

Flat = Mapping[str, np.ndarray]


def backbone_config(flat: Flat) -> dict[str, Any]:
    """`model.backbone` of a CLIP image tower, its sizes read off the arrays. Raises ValueError for another tower."""
    if VIT_POSITIONS in flat:
        kernel = flat["params/backbone/patch_embed/kernel"]
        layers = {match[1] for name in flat if (match := re.match(r"params/backbone/blocks_(\d+)/", name))}
        width = kernel.shape[-1]
        sizes = {"patch": kernel.shape[0], "width": width, "layers": len(layers), "heads": max(width // 64, 1)}
        return {"kind": "clip_vit", **sizes}
    if POOL_POSITIONS not in flat:
        raise ValueError("the checkpoint has no image tower of CLIP")
    blocks = {match.groups() for name in flat if (match := re.match(r"params/backbone/stage(\d+)_block(\d+)/", name))}
    stages = [sum(stage == str(number) for stage, _ in blocks) for number in range(len({s for s, _ in blocks}))]
    output = flat["params/backbone/pool/out/kernel"].shape[-1]
    width = flat["params/backbone/stem2/conv/kernel"].shape[-1]
    heads = max(flat[POOL_POSITIONS].shape[-1] // 64, 1)
    return {"kind": "clip_resnet", "stage_sizes": stages, "width": width, "heads": heads, "output": output}


def from_clip(
    weights: Path,
    phrases: Sequence[str],
    *,
    objects: Vocabulary | None,
    size: int | None = None,
    text_weights: Path | None = None,
) -> tuple[dict[str, Any], dict[str, Any], Vocabulary]:
    """(`model` config, variables, vocabulary) of an untrained DEFR whose classes are `phrases`.

    Args:
      weights: CLIP in any layout that the converters know.
      phrases: what "a person" does: "riding a bicycle".
      objects: the detector's classes, one of which ends every phrase; None for whole pictures, with any phrases.
      size: side of the squared picture, pixels; None = as CLIP was trained.
      text_weights: where the text tower is, if not in `weights`.

    Raises:
      DataError, ValueError: the file is not CLIP's, or a phrase ends with no known object or stands there twice.
    """
    state = read_state(weights)
    try:
        flat, _ = backbone_arrays(state, size)
        backbone = backbone_config(flat)
    except ValueError as error:
        raise DataError(f"{weights}: {error}") from error
    side = _picture_size(flat, backbone)
    vocabulary = phrase_vocabulary(phrases, objects) if objects else activity_vocabulary("phrases", tuple(phrases))
    encoder = load_encoder(text_weights or weights)
    width = backbone["output"] if backbone["kind"] == "clip_resnet" else backbone["width"]
    rows = phrase_rows(encoder, phrases, width)
    variables: dict[str, Any] = {
        "params": {"backbone": as_tree(flat, "params/backbone"), "classifier": {"kernel": rows}}
    }
    if statistics := as_tree(flat, "batch_stats/backbone"):
        variables["batch_stats"] = {"backbone": statistics}
    detects = objects is not None and backbone["kind"] == "clip_vit"
    if objects is not None and not detects:
        raise DataError(f"{weights}: a ResNet has no regional class token; leave --detections out, or take a ViT")
    model = {"backbone": backbone, "inputs": {"size": side}, "detection": {"enabled": detects}}
    return model, variables, vocabulary


def ranked_phrases(
    logits: Float[np.ndarray, "phrases"], vocabulary: Vocabulary, top: int
) -> list[dict[str, str | float]]:
    """The phrases of one picture, best first: logit, and share of the softmax over all phrases."""
    share = np.exp(logits - logits.max())
    share /= share.sum()
    order = np.argsort(-logits, kind="stable")[:top]
    return [
        {"phrase": vocabulary.hoi_name(int(c)), "logit": round(float(logits[c]), 4), "share": round(float(share[c]), 6)}
        for c in order
    ]


def _picture_size(flat: Flat, backbone: Mapping[str, Any]) -> int:
    """Side in pixels of the pictures that the position table is for."""
    table = flat[VIT_POSITIONS if VIT_POSITIONS in flat else POOL_POSITIONS]
    return round((len(table) - 1) ** 0.5) * backbone.get("patch", 32)
