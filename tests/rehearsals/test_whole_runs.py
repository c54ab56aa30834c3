"""Recipes from build to score: every Run line trains two updates of a narrow network and is scored (slow).

Words of a recipe stay as they are; widths, sizes of images and lengths are changed behind them (`NARROW`, `SHORT`).
Weights to start from are the narrow network's own, under the names that the recipe gives them: their conversion is
tested at full size where the converters are. A run that starts from another recipe's is preceded by that one.
"""

import re
from pathlib import Path

import jax
import numpy as np
import pytest

from hoi_jax import experiment as ex
from hoi_jax.data.pipeline import example_batch
from hoi_jax.io import read_json
from hoi_jax.training.init_from import flatten
from tests.rehearsals.places import as_a_user, make
from tests.rehearsals.recipes import RECIPES, experiment_of, recipe

pytestmark = pytest.mark.slow

SHORT = {
    "batch_size": 2, "train.num_steps": 2, "train.num_epochs": 0.0, "train.log_every": 1, "train.checkpoint_every": 2,
    "train.accumulate": 1, "evaluation.batch_size": 2, "pipeline.threads": 2, "optimizer.base_batch_size": None,
    "train.num_devices": 1,
}  # fmt: skip
RESNET = {"stage_sizes": (1, 1, 1, 1), "width": 8}
SMALL_SIZES = {
    "sizes.image_hw": (256, 256), "sizes.short_side": 128, "sizes.long_side": 214,
    "sizes.buckets": ((128, 256), (256, 128)),
}  # fmt: skip
NARROW = {
    "tin": {
        "sizes.buckets": (), "sizes.image_hw": (96, 96), "model.backbone.stage_sizes": (1, 1, 1),
        "model.backbone.width": 8, "model.backbone.roi_width": 8, "model.backbone.roi_blocks": 1,
        "model.classifier.appearance_layers": (16, 16), "model.classifier.spatial_layers": (16, 16),
        "model.interactiveness.stream_layers": (16,), "model.interactiveness.pair_layers": (16,),
        "model.context.channels": 8, "model.context.features": 16, "model.maps.size": 32, "model.max_humans": 4,
        "model.max_objects": 6, "model.max_pairs": 16, "sizes.instances": 12, "sizes.pairs": 12,
    },
    "body_part": {
        **SMALL_SIZES, **{f"model.backbone.{k}": v for k, v in RESNET.items()}, "augment.short_sides": (96, 128),
        "augment.long_side": 214, "augment.crop_sides_px": (64, 96), "augment.crop_short_sides": (80, 100),
        "model.transformer.hidden": 16, "model.transformer.heads": 2, "model.transformer.feedforward": 16,
        "model.transformer.encoder_layers": 1, "model.queries": 12, "sizes.instances": 12, "sizes.pairs": 12,
    },
    "calipso": {
        **SMALL_SIZES, **{f"model.backbone.{k}": v for k, v in RESNET.items()}, "model.backbone.pyramid_width": 8,
        "model.subnet.width": 8, "model.subnet.blocks": 1, "model.compute_dtype": "float32", "sizes.instances": 12,
        "sizes.pairs": 12, "sizes.detections": 12, "model.loss.max_foreground": 64, "model.max_humans": 4,
        "model.max_objects": 6,
    },
    "cascade": {
        **SMALL_SIZES, **{f"model.backbone.{k}": v for k, v in RESNET.items()}, "model.backbone.pyramid_width": 8,
        "model.stages": 2, "model.rpn.width": 8, "model.rpn.per_level": 16, "model.rpn.total": 16,
        "model.boxes.width": 8, "model.boxes.samples": 12, "model.boxes.candidates": 16, "model.boxes.detections": 8,
        "model.relation.width": 8, "model.relation.geometric_width": 8, "model.relation.face_width": 8,
        "model.relation.map_size": 16, "model.relation.map_features": (2, 2), "model.masks.convs": 1,
        "model.masks.width": 8, "model.masks.rois": 8, "model.compute_dtype": "float32", "model.loss.pairs": 12,
        "model.max_humans": 4, "sizes.mask_hw": (64, 64), "sizes.instances": 12, "sizes.pairs": 12,
    },
    "defr": {
        "sizes.image_hw": (64, 64), "model.inputs.size": 64, "model.backbone.width": 16, "model.backbone.layers": 2,
        "model.backbone.heads": 2, "model.compute_dtype": "float32",
    },
}  # fmt: skip


def changes_for(experiment, words) -> list[str]:
    """What makes a run narrow and short; groups that a configuration does not have are left alone."""
    values = {**SHORT, **NARROW[experiment.system]}
    if experiment.train.evaluate_every:
        values["train.evaluate_every"] = 2
    if experiment.system == "body_part":
        values["model.transformer.box_layers"] = 1
        if experiment.model.get("verbs", {}).get("source") == "decoder":
            values["model.verbs.layers"] = 1
    if experiment.system == "tin" and not experiment.model.get("context"):
        values = {key: value for key, value in values.items() if not key.startswith("model.context")}
    if not experiment.train.num_epochs:
        del values["train.num_epochs"]
    return [f"--config.{key}={value!r}" for key, value in values.items()]


def initial_weights(experiment, path: Path) -> None:
    """The narrow network's first variables, as a converter would have written them."""
    system = experiment.build_system()
    pipeline = ex.train_pipeline(experiment, Path("data") / experiment.dataset.name, system.needs_train)
    variables = system.init(jax.random.key(7), example_batch(pipeline, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{name: np.asarray(value) for name, value in flatten(variables).items()})


WORKDIRS = {
    words[words.index("--workdir") + 1]: (config, words)
    for config in RECIPES
    for words in recipe(config).trainings
}  # fmt: skip
"""Folder of a run -> the recipe that makes it."""


def train_whole(words) -> Path:
    """Runs one Run line, and first those that it starts from; returns its workdir."""
    workdir = Path(words[words.index("--workdir") + 1])
    if (workdir / "checkpoints").is_dir():
        return workdir
    experiment = experiment_of(words)
    narrow = [*words, *changes_for(experiment, words)]
    for source in experiment.train.init_from:
        if source.path in WORKDIRS:
            train_whole(WORKDIRS[source.path][1])
        elif not Path(source.path).exists():
            assert re.search(r"\.(npz|safetensors|pth)$", source.path), source.path
            initial_weights(experiment_of(narrow), Path(source.path))
    # A process of its own, as a user has it: one that compiles dozens of networks runs out of places for code.
    assert as_a_user(["train.py", *narrow]) == 0
    return workdir


@pytest.mark.parametrize("config", RECIPES)
def test_a_recipe_runs_from_build_to_score(config, tmp_path, monkeypatch, capfd):
    made = recipe(config)
    folder = make(tmp_path / "place", made.build, as_a_user)
    monkeypatch.chdir(folder)
    for words in made.trainings:
        workdir = train_whole(words)
        assert "images per update" in capfd.readouterr().out
        experiment = experiment_of([*words, *changes_for(experiment_of(words), words)])
        if experiment.train.evaluate_every:
            metrics = read_json(workdir / f"metrics_{experiment.dataset.eval_split}.json")["metrics"]
            assert all(value is None or 0 <= value <= 100 for value in metrics.values()) and metrics
    for words in made.run:
        if words[0] == "train.py":
            continue
        if "--workdir" in words and not Path(words[words.index("--workdir") + 1]).exists():
            train_whole(WORKDIRS[words[words.index("--workdir") + 1]][1])
        assert as_a_user(words) == 0, words
