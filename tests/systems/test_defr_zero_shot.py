"""predict.py from CLIP's file alone: phrases are ranked on whole images, or scored for pairs of boxes."""

import json

import numpy as np
import pytest
from PIL import Image

import predict
from hoi_jax.backbones.vit import ViT
from hoi_jax.systems.defr.config import InputConfig
from hoi_jax.systems.defr.convert import backbone_arrays
from hoi_jax.systems.defr.embeddings import as_tree, load_encoder, unit_rows
from hoi_jax.systems.defr.inputs import prepare
from hoi_jax.systems.defr.open_vocabulary import backbone_config, from_clip
from hoi_jax.vocab import get_vocabulary
from tests.helpers.clip_rule_weights import state, text_shapes, vit_shapes

SOURCE = state(vit_shapes(32, 8, 64, 1, 12) | text_shapes(77, 49408, 64, 1, 12))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A random CLIP of a few layers, two images, boxes numbered as COCO numbers them."""
    folder = tmp_path_factory.mktemp("zero_shot")
    np.savez(folder / "clip.npz", **{name: value.astype(np.float32) for name, value in SOURCE.items()})
    random = np.random.default_rng(0)
    (folder / "photos").mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(random.integers(0, 256, (64, 64, 3)).astype(np.uint8)).save(folder / "photos" / name)
    boxes = [
        {"file_name": "a.png", "category_id": category, "bbox": box, "score": 0.9}
        for category, box in ((1, [2, 2, 30, 60]), (28, [20, 10, 40, 40]))  # COCO: 1 person, 28 umbrella
    ]
    (folder / "boxes.json").write_text(json.dumps(boxes))
    return folder


def run(folder, *arguments):
    out = folder / "out"
    fixed = [str(folder / "photos"), "--weights", str(folder / "clip.npz"), "--out", str(out), "--batch-size", "2"]
    assert predict.main([*fixed, *arguments]) == 0
    return json.loads((out / "predictions.json").read_text())


def test_any_phrases_are_ranked_on_whole_images_by_the_cosine(folder, capsys):
    phrases = ["running", "riding a bicycle", "holding an umbrella"]
    result = run(folder, "--verbs", ", ".join(phrases))
    assert result["system"] == "defr" and [image["file_name"] for image in result["images"]] == ["a.png", "b.png"]
    assert capsys.readouterr().out.startswith("a.png: ")
    tower = as_tree(backbone_arrays(SOURCE, None)[0], "params/backbone")
    stretched = Image.open(folder / "photos" / "a.png").resize((32, 32), Image.Resampling.BICUBIC)
    photo = np.asarray(stretched)[None]
    feature = ViT(8, 64, 1, 1, (4, 4)).apply(
        {"params": tower}, prepare(photo, np.array([[32, 32]], np.int32), InputConfig(size=32))
    )
    rows = load_encoder(folder / "clip.npz").encode([f"a person {phrase}" for phrase in phrases])
    expected = 100 * unit_rows(np.asarray(feature)) @ unit_rows(rows @ SOURCE["visual.proj"].T).T
    classes = result["images"][0]["classes"]
    assert [c["phrase"] for c in classes] == [phrases[i] for i in np.argsort(-expected[0])]
    np.testing.assert_allclose([c["logit"] for c in classes], np.sort(expected[0])[::-1], atol=2e-2)
    assert sum(c["share"] for c in classes) == pytest.approx(1, abs=1e-5)


def test_boxes_are_paired_by_the_phrases_of_their_classes(folder):
    arguments = ("--verbs", "riding a bicycle, holding an umbrella", "--detections", str(folder / "boxes.json"))
    result = run(folder, *arguments, "--min-score", "0", "--top", "1", "--no-drawing")
    (pair,) = result["images"][0]["pairs"]
    assert pair["object"] == "umbrella" and [verb["verb"] for verb in pair["verbs"]] == ["holding"]
    assert pair["human_xyxy_px"] == [2, 2, 32, 62] and result["images"][1]["pairs"] == []


def test_flags_that_do_not_fit_are_refused(folder, capsys):
    for arguments, message in (
        (["--weights", "x.npz"], "--weights needs --verbs"),
        (["--prior", "vcoco", "--verbs", "riding a bicycle"], "--verbs needs --checkpoint or --weights"),
        (["--weights", "x.npz", "--checkpoint", "runs/x"], "not allowed with"),
    ):
        with pytest.raises(SystemExit):
            predict.main([str(folder / "photos"), *arguments])
        assert message in capsys.readouterr().err
    np.savez(folder / "other.npz", a=np.ones(2))
    arguments = [str(folder / "photos"), "--weights", str(folder / "other.npz"), "--verbs", "running"]
    assert predict.main(arguments) == 2
    assert "other.npz: tensor names fit none of the layouts" in capsys.readouterr().err


def test_a_clip_resnet_ranks_images_and_refuses_boxes(tmp_path):
    from tests.helpers.clip_rule_weights import resnet_shapes

    shapes = resnet_shapes((1, 1, 1, 1), 16, 64, 32) | text_shapes(77, 49408, 64, 1, 32)
    source = state(shapes)
    flat = backbone_arrays(source, None)[0]
    config = backbone_config(flat)
    assert config["kind"] == "clip_resnet"
    np.savez(tmp_path / "clip.npz", **{name: value.astype(np.float32) for name, value in source.items()})
    with pytest.raises(ValueError, match="no regional class token"):
        from_clip(tmp_path / "clip.npz", ["riding a bicycle"], objects=get_vocabulary("hico_det"))
    model, variables, vocabulary = from_clip(tmp_path / "clip.npz", ["riding", "running"], objects=None)
    assert variables["params"]["classifier"]["kernel"].shape == (2, config["output"])
    assert vocabulary.verbs == ("riding", "running") and not model["detection"]["enabled"]
