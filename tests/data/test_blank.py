"""Batches from the schema alone have the shapes of real ones."""

import numpy as np
import pytest

from hoi_jax import schema
from hoi_jax.data.numpy_batch import blank_batch
from hoi_jax.data.settings import SizeSettings
from hoi_jax.vocab import get_vocabulary

SIZES = SizeSettings(image_hw=(32, 48), instances=7, detections=9, pairs=5, persons=3, mask_hw=(8, 12))


def test_a_blank_batch_is_one_that_the_schema_accepts():
    vocabulary = get_vocabulary("vcoco")
    needs = {name for name in schema.BATCH_FIELDS if not name.startswith(("external", "image_features"))}
    batch = blank_batch(needs, SIZES, vocabulary, batch_size=2)
    schema.check_batch(batch, needs)
    assert batch["persons_roles"].shape == (2, 3, len(vocabulary.actions), 2)
    assert batch["detections_mask"].shape == (2, 9, 8, 12) and batch["detections_mask"].dtype == bool
    assert not any(np.any(value) for value in batch.values())


def test_feature_maps_need_their_shape_and_unknown_fields_are_refused():
    vocabulary = get_vocabulary("hico_det")
    assert blank_batch({"image_features"}, SIZES, vocabulary, 1, (4, 6, 16))["image_features"].shape == (1, 4, 6, 16)
    with pytest.raises(schema.SchemaError, match="image_features: the length of axis 'y'"):
        blank_batch({"image_features"}, SIZES, vocabulary)
    with pytest.raises(schema.SchemaError, match="did you mean 'image'"):
        blank_batch({"images"}, SIZES, vocabulary)
