"""Batches without content: their shapes alone, from the schema, for initialising and for counting operations."""

from collections.abc import Iterable

import numpy as np

from hoi_jax import schema
from hoi_jax.data.settings import SizeSettings
from hoi_jax.vocab import Vocabulary


def blank_batch(
    needs: Iterable[str],
    sizes: SizeSettings,
    vocabulary: Vocabulary,
    batch_size: int = 1,
    map_shape: tuple[int, int, int] | None = None,
) -> dict[str, np.ndarray]:
    """Zeros in the shapes and dtypes of a pipeline's batches: the fields of `needs` and those that are always there.

    Args:
      map_shape: of a stored feature map (y, x, F), where `needs` has "image_features".

    Raises:
      schema.SchemaError: a field is unknown, or has an axis that these arguments do not tell.
    """
    lengths = {
        "H": sizes.image_hw[0], "W": sizes.image_hw[1], "h": sizes.mask_hw[0], "w": sizes.mask_hw[1],
        "G": sizes.instances, "D": sizes.detections, "P": sizes.pairs, "N": sizes.persons,
        "V": len(vocabulary.verbs), "A": len(vocabulary.actions), "C": len(vocabulary.hois),
        **dict(zip("yxF", map_shape or (), strict=False)),
    }  # fmt: skip
    names = frozenset(needs) | schema.ALWAYS_PRESENT
    schema.check_names(names, schema.BATCH_FIELDS, "needed fields")
    batch = {}
    for name in sorted(names):
        field = schema.BATCH_FIELDS[name]
        if unknown := [axis for axis in field.axes if isinstance(axis, str) and axis not in lengths]:
            raise schema.SchemaError(f"{name}: the length of axis {unknown[0]!r} is not known here")
        shape = tuple(axis if isinstance(axis, int) else lengths[axis] for axis in field.axes)
        batch[name] = np.zeros((batch_size, *shape), field.dtype)
    return batch
