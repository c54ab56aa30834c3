"""HICO-DET's training pairs as flat arrays: boxes and HOI classes of HAKE's instance-level file, without pictures.

An npz with `image_id` [I] (numbers of the files), `pair_image` [P] rows of it, `pair_hoi` [P] from 0, `pair_hbox` and
`pair_obox` [P, 4] in 1-based inclusive pixels, `pair_image_wh` [P, 2]; optionally `part_pair` [S] rows of pairs and
`part_id` [S], the body parts that act (`hake_files`).
"""

import os
from collections.abc import Mapping

import numpy as np

from hoi_jax.evaluation.annotations import Annotations
from hoi_jax.evaluation.files.annotation_rows import record_of
from hoi_jax.evaluation.files.hake_files import part_states
from hoi_jax.evaluation.files.hico_files import columns_of_pairs
from hoi_jax.io import CorruptFileError
from hoi_jax.vocab import get_vocabulary

_NEEDED = ("image_id", "pair_image", "pair_hoi", "pair_hbox", "pair_obox", "pair_image_wh")


def is_flat_pairs(content: Mapping[str, np.ndarray]) -> bool:
    """Whether an npz file has this layout."""
    return set(_NEEDED) <= set(content)


def annotations_of_flat_pairs(content: Mapping[str, np.ndarray], path: str | os.PathLike[str]) -> Annotations:
    """One split; `image_id` is the number in the file's name. Raises io.CorruptFileError naming file and picture."""
    vocabulary = get_vocabulary("hico_det")
    numbers, image = np.asarray(content["image_id"], np.int64), np.asarray(content["pair_image"], np.int64)
    pairs = len(image)
    if any(len(content[name]) != pairs for name in _NEEDED[2:]) or np.any((image < 0) | (image >= len(numbers))):
        raise CorruptFileError(f"{path}: pair arrays differ in length, or point at no picture")
    boxes = np.stack([content["pair_hbox"], content["pair_obox"]], axis=1).astype(np.float64)
    # An end before its start, as a few of HAKE's boxes have it, is taken as one pixel.
    boxes[..., 2:] = np.maximum(boxes[..., 2:], boxes[..., :2])
    try:
        states = part_states(
            pairs, *(np.asarray(content.get(name, ()), np.int64).reshape(-1) for name in ("part_pair", "part_id"))
        )
    except (ValueError, IndexError) as error:
        raise CorruptFileError(f"{path}: fields 'part_pair', 'part_id': {error}") from error
    order = np.argsort(image, kind="stable")
    starts = np.searchsorted(image[order], np.arange(len(numbers) + 1))
    records = []
    for row, number in enumerate(numbers):
        mine = order[starts[row] : starts[row + 1]]
        where = f"{path}: picture {number}"
        columns = columns_of_pairs(boxes[mine], np.asarray(content["pair_hoi"], np.int64)[mine], vocabulary, where)
        columns |= {"pairs_part_states": states[mine]}
        width, height = content["pair_image_wh"][mine[0]] if len(mine) else (0, 0)
        name = f"HICO_train2015_{number:08d}.jpg"
        records.append(record_of(int(number), name, (int(height), int(width)), columns, 1))
    return Annotations.from_records(records, "hico_det")
