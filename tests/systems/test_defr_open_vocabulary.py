"""Classes given as text: phrases become a vocabulary, and a checkpoint scores them without training."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hoi_jax import predictor
from hoi_jax.systems.defr.convert import backbone_arrays
from hoi_jax.systems.defr.embeddings import as_tree, load_encoder, unit_rows
from hoi_jax.systems.defr.open_vocabulary import phrase_rows, phrase_vocabulary, split_phrase
from hoi_jax.systems.registry import build_system
from hoi_jax.vocab import get_vocabulary
from tests.helpers.clip_rule_weights import state, text_shapes, vit_shapes

OBJECTS = ("person", "dining_table", "table", "hot_dog", "dog")
PHRASES = ["riding a bicycle", "holding an umbrella", "sitting on a bench"]


def test_the_longest_object_at_the_end_is_taken():
    assert split_phrase("Eating at a dining table", OBJECTS) == ("eating at", 1)
    assert split_phrase("holding hot_dog", OBJECTS) == ("holding", 3)
    assert split_phrase("hugging another person", OBJECTS) == ("hugging", 0)
    for phrase in ("a dog", "dog", "riding a zebra", ""):
        with pytest.raises(ValueError, match="hot dog"):
            split_phrase(phrase, OBJECTS)


def test_phrases_share_verbs_and_must_differ():
    table = phrase_vocabulary(["feeding a dog", "feeding a hot dog", "petting a dog"], get_vocabulary("hico_det"))
    assert table.verbs == ("feeding", "petting") and [v for v, _ in table.hois] == [0, 0, 1]
    with pytest.raises(ValueError, match="must be distinct"):
        phrase_vocabulary(["feeding a dog", "feeding the dog"], get_vocabulary("hico_det"))


def test_clip_scores_of_phrases_are_cosines_in_the_image_space(tmp_path):
    """Through the whole path: CLIP weights -> image tower and text rows -> DEFR's logits of an image."""
    source = state(vit_shapes(32, 8, 64, 1, 12) | text_shapes(77, 49408, 64, 1, 12))
    np.savez(tmp_path / "clip.npz", **{name: value.astype(np.float32) for name, value in source.items()})
    encoder = load_encoder(tmp_path / "clip.npz")
    vocabulary = phrase_vocabulary(PHRASES, get_vocabulary("hoi_scenes"))
    rows = phrase_rows(encoder, PHRASES, 64)
    model = {"backbone": {"patch": 8, "width": 64, "layers": 1, "heads": 1}, "inputs": {"size": 32}}
    system = build_system("defr", model, vocabulary)
    tower = as_tree(backbone_arrays(source, 32)[0], "params/backbone")
    variables = {"params": {"backbone": tower, "classifier": {"kernel": rows}}}
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.integers(0, 256, (2, 32, 32, 3)).astype(np.uint8),
        "image_hw_px": np.full((2, 2), 32, np.int32),
        "detections_xyxy_px": np.tile(np.float32([[0, 0, 20, 30], [10, 5, 30, 31]]), (2, 1, 1)),
        "detections_class": np.tile(np.int32([0, vocabulary.objects.index("bicycle")]), (2, 1)),
        "detections_score": np.ones((2, 2), np.float32),
        "detections_valid": np.ones((2, 2), bool),
    }
    out = jax.jit(system.predict)(variables, jax.tree.map(jnp.asarray, batch))
    assert out["hoi_scores"].shape == (2, 3)
    texts = encoder.encode([f"a person {phrase}" for phrase in PHRASES])
    np.testing.assert_allclose(rows, texts @ source["visual.proj"].T, atol=1e-4)
    from hoi_jax.backbones.vit import ViT
    from hoi_jax.systems.defr.config import InputConfig
    from hoi_jax.systems.defr.inputs import prepare

    image = prepare(jnp.asarray(batch["image"]), jnp.asarray(batch["image_hw_px"]), InputConfig(size=32))
    feature = ViT(8, 64, 1, 1, (4, 4)).apply({"params": tower}, image)
    expected = 100 * unit_rows(np.asarray(feature)) @ unit_rows(rows).T
    np.testing.assert_allclose(out["hoi_scores"], expected, atol=2e-2)
    pair = int(np.flatnonzero(out["pair_valid"][0])[0])
    scores = np.asarray(out["verb_scores"][0, pair])
    assert scores[vocabulary.verbs.index("riding")] > 0 and scores[vocabulary.verbs.index("holding")] == 0


def test_only_defr_checkpoints_take_phrases_and_only_with_an_encoder():
    vocabulary = get_vocabulary("hoi_scenes")
    with pytest.raises(ValueError, match="'tin'"):
        predictor.with_phrases({}, {"system": "tin"}, vocabulary, PHRASES, None)
    with pytest.raises(ValueError, match="--text-weights"):
        predictor.with_phrases({}, json.loads('{"system": "defr"}'), vocabulary, PHRASES, None)


def test_the_classifier_of_a_checkpoint_is_replaced(tmp_path):
    source = state(vit_shapes(32, 8, 64, 1, 12) | text_shapes(77, 49408, 64, 1, 12))
    np.savez(tmp_path / "clip.npz", **{name: value.astype(np.float32) for name, value in source.items()})
    old = {"params": {"backbone": {"x": np.ones(2)}, "classifier": {"kernel": np.zeros((99, 64), np.float32)}}}
    new, vocabulary = predictor.with_phrases(
        old, {"system": "defr"}, get_vocabulary("hoi_scenes"), PHRASES, tmp_path / "clip.npz"
    )
    assert new["params"]["classifier"]["kernel"].shape == (3, 64) and len(vocabulary.hois) == 3
    assert new["params"]["backbone"] is old["params"]["backbone"]
