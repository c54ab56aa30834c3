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
    num_actions: int | None = None,
) -> dict[str, np.ndarray]:
    """Zeros in the shapes and dtypes of a pipeline's batches (of the first static shape): the fields of `needs` and
    those that are always there.

    Args:
      num_actions: of the records, where they are labelled with another vocabulary's actions.
      map_shape: of a stored feature map (y, x, F), where `needs` has "image_features".

    Raises:
      schema.SchemaError: a field is unknown, or has an axis that these arguments do not tell.
    """
    shape = sizes.shapes[0]
    grid = sizes.mask_grid(shape)
    lengths = {
        "H": shape[0], "W": shape[1], "h": grid[0], "w": grid[1],
        "G": sizes.instances, "D": sizes.detections, "P": sizes.pairs, "N": max(sizes.persons, 1),
        "U": sizes.faces,
        "V": len(vocabulary.verbs), "C": len(vocabulary.hois),
        "A": len(vocabulary.actions) if num_actions is None else num_actions,
        **dict(zip("yxF", map_shape or (), strict=False)),
    }  # fmt: skip
    names = frozenset(needs) | schema.ALWAYS_PRESENT
    schema.check_names(names, schema.BATCH_FIELDS, "needed fields")
    batch = {}
    for name in sorted(names):
        field = schema.BATCH_FIELDS[name]
        if unknown := [axis for axis in field.axes if isinstance(axis, str) and axis not in lengths]:
            raise schema.SchemaError(f"{name}: the length of axis {unknown[0]!r} is not known here")
        axes = tuple(axis if isinstance(axis, int) else lengths[axis] for axis in field.axes)
        batch[name] = np.zeros((batch_size, *axes), field.dtype)
    return batch
