"""torchvision's COCO RetinaNets become CALIPSO's backbone and pyramid; every other tensor is named."""

import jax
import numpy as np
import pytest

from hoi_jax import io
from hoi_jax.serialization.conversion import ConversionError
from hoi_jax.settings import from_config
from hoi_jax.systems.calipso.config import CalipsoConfig
from hoi_jax.systems.calipso.convert import layout_of, main, retinanet_arrays
from hoi_jax.systems.calipso.model import CalipsoNet
from hoi_jax.training.init_from import merge
from hoi_jax.training.settings import InitFromSettings

PYRAMID_WIDTH = 8


def state_dict(layout: str, wrapped: bool = True) -> dict[str, np.ndarray]:
    """Names of a torchvision RetinaNet whose ResNet has one narrow block per stage."""
    rng = np.random.default_rng(0)
    state = {}

    def conv(name, out, inside, size, bias=True):
        state[f"{name}.weight"] = rng.normal(size=(out, inside, size, size)).astype(np.float32)
        if bias:
            state[f"{name}.bias"] = rng.normal(size=out).astype(np.float32)

    def norm(name, width):
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            state[f"{name}.{leaf}"] = rng.uniform(0.5, 1.0, width).astype(np.float32)
        if layout == "v2":
            state[f"{name}.num_batches_tracked"] = np.array(7)

    body, width = "backbone.body", 4
    conv(f"{body}.conv1", width, 3, 7, False)
    norm(f"{body}.bn1", width)
    before = width
    for stage in range(4):
        inner = width * 2**stage
        path = f"{body}.layer{stage + 1}.0"
        for number, (out, inside, size) in enumerate(((inner, before, 1), (inner, inner, 3), (4 * inner, inner, 1)), 1):
            conv(f"{path}.conv{number}", out, inside, size, False)
            norm(f"{path}.bn{number}", out)
        conv(f"{path}.downsample.0", 4 * inner, before, 1, False)
        norm(f"{path}.downsample.1", 4 * inner)
        before = 4 * inner
    middle = ".0" if wrapped else ""
    for level, channels in enumerate((32, 64, 128)):
        conv(f"backbone.fpn.inner_blocks.{level}{middle}", PYRAMID_WIDTH, channels, 1)
        conv(f"backbone.fpn.layer_blocks.{level}{middle}", PYRAMID_WIDTH, PYRAMID_WIDTH, 3)
    conv("backbone.fpn.extra_blocks.p6", PYRAMID_WIDTH, 128 if layout == "v2" else PYRAMID_WIDTH, 3)
    conv("backbone.fpn.extra_blocks.p7", PYRAMID_WIDTH, PYRAMID_WIDTH, 3)
    conv("head.classification_head.cls_logits", 9, PYRAMID_WIDTH, 3)
    return state


@pytest.mark.parametrize("layout, wrapped", [("v1", True), ("v1", False), ("v2", True)])
def test_every_parameter_of_backbone_and_pyramid_finds_its_source(layout, wrapped):
    state = state_dict(layout, wrapped)
    arrays, unknown, found = retinanet_arrays(state)
    assert found == layout and layout_of(state) == layout
    assert set(unknown) == {"head.classification_head.cls_logits.weight", "head.classification_head.cls_logits.bias"}
    backbone = {"stage_sizes": (1, 1, 1, 1), "width": 4, "pyramid_width": PYRAMID_WIDTH}
    backbone["p6_source"] = "c5" if layout == "v2" else "p5"
    config = from_config(CalipsoConfig, {"backbone": backbone, "subnet": {"blocks": 1, "width": 8}})
    net = CalipsoNet(config, 2)
    image = np.zeros((1, 128, 128, 3), np.uint8)
    shapes = jax.eval_shape(net.init, jax.random.key(0), image, np.full((1, 2), 128, np.int32))
    variables = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes)
    include = ("params/(backbone|fpn)/.*", "batch_stats/backbone/.*")
    _, report = merge(variables, arrays, InitFromSettings("retinanet.npz", include=include, strict=True))
    assert not report.missing and not report.unfit and not report.unused
    assert all("/backbone/" in name or "/fpn/" in name for name in report.loaded)


def test_published_first_weights_keep_their_function_without_an_epsilon():
    """gain = scale / sqrt(var + 1e-5) here equals scale / sqrt(var + 0) there."""
    state = state_dict("v1")
    arrays, _, _ = retinanet_arrays(state)
    var = state["backbone.body.bn1.running_var"]
    np.testing.assert_allclose(arrays["batch_stats/backbone/stem/norm/var"] + np.float32(1e-5), var, rtol=1e-6)
    same, _, _ = retinanet_arrays(state, epsilon=1e-5)
    np.testing.assert_array_equal(same["batch_stats/backbone/stem/norm/var"], var)
    v2 = state_dict("v2")
    arrays, _, _ = retinanet_arrays(v2)
    np.testing.assert_array_equal(arrays["batch_stats/backbone/stem/norm/var"], v2["backbone.body.bn1.running_var"])


def test_the_command_writes_the_file_and_names_what_has_no_place(tmp_path, capsys):
    source, target = tmp_path / "retinanet.npz", tmp_path / "out.npz"
    np.savez(source, **state_dict("v2"))  # type: ignore[arg-type]
    assert main([str(source), str(target)]) == 0
    printed = capsys.readouterr().out
    assert "not used: head.classification_head.cls_logits.weight" in printed and "RetinaNet v2" in printed
    assert "params/fpn/p6/kernel" in io.read_npz(target)


def test_weights_of_another_network_are_refused(tmp_path, capsys):
    with pytest.raises(ConversionError, match="not a RetinaNet"):
        layout_of({"conv1.weight": np.zeros((4, 3, 7, 7))})
    np.savez(tmp_path / "x.npz", a=np.zeros(3))
    assert main([str(tmp_path / "x.npz"), str(tmp_path / "y.npz")]) == 2
    assert "not a RetinaNet" in capsys.readouterr().err
