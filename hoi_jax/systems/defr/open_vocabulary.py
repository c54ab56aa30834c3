"""Classes given as text: classifier rows for untrained phrases, and DEFR from a CLIP checkpoint without training.

The untrained network consists of the class token of the image tower and the text vectors mapped back through the image
projection, which is DEFR's initialisation.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from hoi_jax.io import DataError
from hoi_jax.serialization.state import read_state
from hoi_jax.systems.defr.convert import POOL_POSITIONS, VIT_POSITIONS, backbone_arrays
from hoi_jax.systems.defr.embeddings import TextEncoder, as_tree, classifier_rows, load_encoder
from hoi_jax.systems.defr.prompts import words
from hoi_jax.vocab.custom import activity_vocabulary
from hoi_jax.vocab.tables import Vocabulary

_ARTICLES = frozenset({"a", "an", "the", "another", "some"})


def split_phrase(phrase: str, objects: Sequence[str]) -> tuple[str, int]:
    """Split "riding a bicycle" into ("riding", index of bicycle), with the longest object name that the phrase ends in.

    Raises:
      ValueError: the phrase does not end with a known object, or has no verb.
    """
    parts = words(phrase.lower()).split()
    names = {tuple(words(name).split()): index for index, name in enumerate(objects)}
    for start in range(len(parts)):
        if tuple(parts[start:]) in names:
            verb = parts[: start - 1] if start and parts[start - 1] in _ARTICLES else parts[:start]
            if not verb:
                break
            return " ".join(verb), names[tuple(parts[start:])]
    known = ", ".join(sorted(map(words, objects)))
    raise ValueError(f"{phrase!r} must be a verb and one of the objects; objects: {known}")


def phrase_vocabulary(phrases: Sequence[str], base: Vocabulary) -> Vocabulary:
    """A vocabulary with one HOI class per phrase, in the order given, over the objects of `base`.

    Raises:
      ValueError: an object is unknown, a class occurs twice, or there are no phrases.
    """
    pairs = [split_phrase(phrase, base.objects) for phrase in phrases]
    if not pairs or len(set(pairs)) != len(pairs):
        raise ValueError(f"phrases must be distinct and at least one, got {list(phrases)}")
    verbs = tuple(dict.fromkeys(verb for verb, _ in pairs))
    return Vocabulary(
        name="phrases",
        objects=base.objects,
        verbs=verbs,
        human_class=base.human_class,
        hois=tuple((verbs.index(verb), obj) for verb, obj in pairs),
    )


def phrase_rows(encoder: TextEncoder, phrases: Sequence[str], width: int) -> Float[np.ndarray, "phrases {width}"]:
    """Classifier rows of "a person PHRASE" for an image feature of length `width`.

    They are meaningful only for an image tower with the same embedding space as the encoder: CLIP's own, fine-tuned or
    not.
    """
    return classifier_rows(encoder, [f"a person {phrase.strip()}" for phrase in phrases], width)[0]


Flat = Mapping[str, np.ndarray]


def backbone_config(flat: Flat) -> dict[str, Any]:
    """`model.backbone` of a CLIP image tower, with sizes inferred from the arrays. Raises ValueError for any other."""
    if VIT_POSITIONS in flat:
        kernel = flat["params/backbone/patch_embed/kernel"]
        layers = {match[1] for name in flat if (match := re.match(r"params/backbone/blocks_(\d+)/", name))}
        width = kernel.shape[-1]
        sizes = {"patch": kernel.shape[0], "width": width, "layers": len(layers), "heads": max(width // 64, 1)}
        return {"kind": "clip_vit", **sizes}
    if POOL_POSITIONS not in flat:
        raise ValueError("the checkpoint does not contain an image tower of CLIP")
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
      weights: CLIP in any layout that the converters support.
      phrases: verb phrases that continue "a person", such as "riding a bicycle".
      objects: the detector's classes, one of which must end every phrase; None for whole images, with any phrases.
      size: side of the square image, pixels; None = as CLIP was trained.
      text_weights: file of the text tower, if it is not in `weights`.

    Raises:
      DataError, ValueError: the file is not CLIP's, or a phrase occurs twice or does not end with a known object.
    """
    state = read_state(weights)
    try:
        flat, _ = backbone_arrays(state, size)
        backbone = backbone_config(flat)
    except ValueError as error:
        raise DataError(f"{weights}: {error}") from error
    side = _image_size(flat, backbone)
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
        raise DataError(f"{weights}: a ResNet has no regional class token; omit --detections, or use a ViT")
    model = {"backbone": backbone, "inputs": {"size": side}, "detection": {"enabled": detects}}
    return model, variables, vocabulary


def ranked_phrases(
    logits: Float[np.ndarray, " phrases"], vocabulary: Vocabulary, top: int
) -> list[dict[str, str | float]]:
    """The phrases of one image, best first, with logit and softmax probability over all phrases."""
    share = np.exp(logits - logits.max())
    share /= share.sum()
    order = np.argsort(-logits, kind="stable")[:top]
    return [
        {"phrase": vocabulary.hoi_name(int(c)), "logit": round(float(logits[c]), 4), "share": round(float(share[c]), 6)}
        for c in order
    ]


def _image_size(flat: Flat, backbone: Mapping[str, Any]) -> int:
    """Image side in pixels that the position table is for."""
    table = flat[VIT_POSITIONS if VIT_POSITIONS in flat else POOL_POSITIONS]
    return round((len(table) - 1) ** 0.5) * backbone.get("patch", 32)
