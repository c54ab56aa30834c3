"""Zero-shot splits of HICO-DET: which of the 600 HOI classes are unseen in training.

RF-UC and NF-UC (rare / non-rare first, unseen combinations; VCL, Hou et al. 2020) are lists of 120 classes. UO
(unseen objects; Bansal et al. 2020), UV (unseen verbs; GEN-VLKT, Liao et al. 2022) and UA (unseen actions; ConsNet,
Liu et al. 2020) consist of all classes of the objects or verbs listed here.
"""

import numpy as np

from hoi_jax.vocab.datasets import HICO

_RF_UC = (
    8, 22, 27, 44, 50, 55, 62, 66, 70, 76, 77, 80, 83, 84, 90, 99, 100, 104, 107, 127, 135, 136, 149, 158, 168,
    179, 181, 184, 188, 189, 192, 195, 198, 205, 206, 216, 222, 229, 238, 239, 254, 255, 257, 260, 261, 262,
    274, 279, 280, 281, 286, 289, 292, 303, 311, 315, 317, 325, 333, 334, 345, 350, 351, 354, 358, 364, 379,
    381, 389, 390, 391, 395, 397, 398, 399, 401, 402, 403, 405, 407, 410, 416, 418, 427, 429, 436, 439, 440,
    449, 463, 469, 474, 482, 485, 498, 499, 504, 509, 517, 520, 522, 526, 531, 535, 539, 546, 547, 548, 552,
    555, 556, 560, 581, 586, 592, 593, 595, 596, 597, 599,
)  # fmt: skip
_NF_UC = (
    6, 7, 9, 11, 18, 19, 20, 23, 25, 29, 38, 41, 42, 45, 48, 53, 54, 56, 60, 61, 64, 67, 73, 75, 89, 91, 93, 94,
    106, 110, 115, 131, 139, 140, 141, 146, 152, 153, 154, 155, 159, 162, 163, 169, 173, 176, 185, 190, 191,
    193, 197, 208, 212, 215, 218, 223, 226, 228, 230, 240, 245, 246, 248, 249, 250, 266, 284, 294, 297, 304,
    308, 312, 320, 323, 329, 337, 338, 340, 346, 370, 371, 374, 377, 383, 385, 387, 417, 446, 455, 456, 457,
    459, 461, 470, 471, 472, 478, 479, 480, 481, 483, 493, 506, 508, 515, 516, 518, 529, 534, 544, 559, 566,
    572, 575, 576, 577, 582, 583, 589, 594,
)  # fmt: skip
UNSEEN_OBJECTS_UO: tuple[str, ...] = (
    "baseball_bat", "clock", "dog", "elephant", "frisbee", "pizza", "refrigerator", "skateboard", "skis",
    "tennis_racket", "toothbrush", "zebra",
)  # fmt: skip
UNSEEN_VERBS_UV: tuple[str, ...] = (
    "block", "dribble", "feed", "herd", "hose", "inspect", "install", "move", "park", "ride", "sail", "scratch",
    "sign", "squeeze", "stab", "stop_at", "swing", "tag", "toast", "wear",
)  # fmt: skip
UNSEEN_VERBS_UA: tuple[str, ...] = (
    "carry", "catch", "exit", "greet", "hop_on", "hose", "hunt", "lasso", "launch", "pet", "pick_up", "pull",
    "race", "run", "scratch", "sip", "sit_at", "smell", "stand_on", "stop_at", "straddle", "text_on",
)  # fmt: skip


def _of_verbs(names: tuple[str, ...]) -> tuple[int, ...]:
    return tuple(hoi for hoi, (verb, _) in enumerate(HICO.hois) if HICO.verbs[verb] in names)


def _of_objects(names: tuple[str, ...]) -> tuple[int, ...]:
    return tuple(hoi for hoi, (_, obj) in enumerate(HICO.hois) if HICO.objects[obj] in names)


ZERO_SHOT_UNSEEN: dict[str, tuple[int, ...]] = {
    "rf_uc": _RF_UC,
    "nf_uc": _NF_UC,
    "uo": _of_objects(UNSEEN_OBJECTS_UO),
    "uv": _of_verbs(UNSEEN_VERBS_UV),
    "ua": _of_verbs(UNSEEN_VERBS_UA),
}
"""Sorted unseen HOI classes (0-based) by split name; the others are seen."""


def unseen_mask(split: str) -> np.ndarray:
    """Classes that `split` excludes from training, [600] bool. Raises ValueError for an unknown split."""
    if split not in ZERO_SHOT_UNSEEN:
        raise ValueError(f"unknown zero-shot split {split!r}; known are {sorted(ZERO_SHOT_UNSEEN)}")
    return np.isin(np.arange(len(HICO.hois)), ZERO_SHOT_UNSEEN[split])
