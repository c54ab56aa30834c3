"""Class layers of COCO detectors, rearranged for the objects of a vocabulary."""

from collections.abc import Mapping

import numpy as np

from hoi_jax.vocab.datasets import COCO_CATEGORY_IDS, HICO
from hoi_jax.vocab.tables import Vocabulary

SYNONYMS = {
    "human": "person", "cellphone": "cell_phone", "phone": "cell_phone", "ball": "sports_ball", "computer": "laptop",
    "PC": "laptop", "racket": "tennis_racket", "bag": "handbag", "table": "dining_table", "sofa": "couch",
    "luggage": "suitcase", "aircraft": "airplane", "remote_control": "remote", "display": "tv", "document": "book",
}  # fmt: skip
"""Objects of HOI-W, PIC and the scenes whose nearest COCO class has another name; ours, no paper lists them."""


def source_columns(columns: int, vocabulary: Vocabulary) -> tuple[int | None, ...]:
    """Column of a COCO class layer for every object, None for objects without a COCO class.

    Args:
      columns: of the layer, background first: 81, or 91 where columns are COCO's category numbers (torchvision).

    Raises:
      ValueError: for another number of columns.
    """
    if columns not in (81, 91):
        raise ValueError(f"the class layer has {columns} columns, expected 81 or 91 of a COCO detector")
    place = {name: COCO_CATEGORY_IDS[i] if columns == 91 else i + 1 for i, name in enumerate(HICO.objects)}
    return tuple(place.get(SYNONYMS.get(name, name), place.get(name)) for name in vocabulary.objects)


def with_classes(
    arrays: Mapping[str, np.ndarray], vocabulary: Vocabulary
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Converted arrays with class layers for the vocabulary's objects, and the objects that COCO lacks.

    Such an object starts with the mean of the COCO classes: as likely as any, and unlike none.

    Raises:
      ValueError: a class layer is no COCO detector's.
    """
    out, absent = dict(arrays), set()
    for name, array in arrays.items():
        if "/score/" not in name or not name.startswith(("params/box_heads", "params/mask_heads")):
            continue
        columns = source_columns(array.shape[-1], vocabulary)
        used = [i for i in range(1, array.shape[-1]) if array.shape[-1] == 81 or i in COCO_CATEGORY_IDS]
        mean = array[..., used].mean(axis=-1)
        parts = [array[..., 0], *(mean if column is None else array[..., column] for column in columns)]
        out[name] = np.stack(parts, axis=-1).astype(array.dtype)
        absent |= {vocabulary.objects[i] for i, column in enumerate(columns) if column is None}
    return out, tuple(name for name in vocabulary.objects if name in absent)
