"""Train one step on built mini copies and score them, all in one process.

    python -m tests.helpers.train_minis DATA_DIR WORKDIR NAME …

Prints one line of JSON per name, {name: metrics}. Networks are as small as their systems allow, so that most of the
time goes into compiling.
"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import numpy as np

import train
from configs import cascade_hoi_scenes, defr_hoi_scenes, two_boxes_hoi_scenes
from hoi_jax import experiment as ex
from hoi_jax import io
from hoi_jax.commands.segment_relations import segment
from hoi_jax.evaluation.benchmark_files import evaluate_hoi_w_files
from hoi_jax.evaluation.metrics.pic import Scene, evaluate_pic
from hoi_jax.formats.labels.pic import map_files, read_map
from hoi_jax.formats.predictions.hoi_w import hoi_w_results
from hoi_jax.training import load_for_evaluation, make_predictor


def base(config, name, vocabulary, eval_split, metric, **evaluation):
    """Config for one step on images of 64 x 64, and a checkpoint."""
    config.batch_size = 2
    config.dataset = dict(name=name, vocabulary=vocabulary, eval_split=eval_split, detections="ground_truth")
    config.sizes.update(image_hw=(64, 64), instances=8, detections=8, pairs=12, persons=8, mask_hw=(16, 16))
    config.pipeline = dict(threads=1, prefetch=1)
    config.train = dict(
        seed=0, num_steps=1, log_every=1, evaluate_every=int(metric is not None), checkpoint_every=1, best_metric=metric
    )
    config.evaluation = dict(batch_size=2, **evaluation)
    return config


def two_boxes(name, vocabulary, metric, metrics=("hoi",)):
    config = base(two_boxes_hoi_scenes.get_config(), name, vocabulary, "test", metric, metrics=metrics)
    config.model.layers = (8,)
    return config


def defr(name, vocabulary, split, metric, metrics):
    config = base(defr_hoi_scenes.get_config(), name, vocabulary, split, metric, metrics=metrics)
    config.model.backbone = dict(kind="clip_vit", patch=16, width=16, layers=1, heads=2)
    config.model.inputs.size = 64
    config.model.detection = dict(enabled=False)
    if metrics == ("mpii",):
        config.model.loss = dict(kind="softmax")
    return config


def cascade(name, split):
    config = base(cascade_hoi_scenes.get_config("stages=1,region=mask"), name, name, split, None)
    config.model.relation.update(width=8, geometric_width=4, face_width=4, map_size=16, map_features=(2, 2))
    config.model.backbone.update(stage_sizes=(1, 1), stage_strides=(2, 2), width=8, pyramid_width=8)
    config.model.rpn.per_level = 24
    return config


def predictions(config, workdir, data):
    """(predictions, annotations) of the evaluation split, by the last checkpoint."""
    experiment = ex.load_experiment(config.to_dict())
    directory, split = data / experiment.dataset.name, experiment.dataset.eval_split
    system = experiment.build_system()
    predict = make_predictor(system, load_for_evaluation(workdir, "last")[0])
    batches = ex.eval_pipeline(experiment, directory, split, system.needs_predict).eval_batches()
    loaded = ex.predict_split(experiment, batches, predict, workdir / "predictions.npz", {"system": system.name})
    return loaded, ex.load_annotations(directory, split)


def scores_of_hoi_w(config, workdir, data, labels):
    """Scores through HOI-W's own files."""
    io.write_json_atomic(workdir / "results.json", hoi_w_results(*predictions(config, workdir, data)))
    return evaluate_hoi_w_files(workdir / "results.json", labels).metrics


def scores_of_pic(config, workdir, data, folder):
    """Scores through PIC's own files of maps and relations."""
    split = config.dataset.eval_split
    segment(workdir, data, workdir / "out", images=1, checkpoint="last")

    def scenes(listed, root):
        maps = map_files(root)
        for row in io.read_json(listed):
            stem = Path(row["name"]).stem
            relations = [[r["subject"], r["object"], r["relation"]] for r in row["relations"]]
            score = np.array([r.get("score", 1.0) for r in row["relations"]])
            kinds = {kind: read_map(maps[kind, stem]) for kind in ("semantic", "instance")}
            yield Scene(kinds["semantic"], kinds["instance"], np.array(relations, int).reshape(-1, 3), score)

    truth = scenes(folder / "relation" / f"relations_{split}.json", folder / "segmentation" / split)
    found = scenes(workdir / "out" / f"relations_{split}.json", workdir / "out")
    return evaluate_pic(zip(truth, found, strict=True)).metrics


def run(data, runs, name):
    data, disk = Path(data), Path(data).parent / "disk"
    workdir = Path(runs) / name
    configs = {
        "hico_det": lambda: two_boxes("hico_det", "hico_det", "default/full"),
        "vcoco": lambda: two_boxes("vcoco", "vcoco", "pairs_role_ap/24", ("role_pairs",)),
        "own": lambda: two_boxes("own", f"file:{data / 'own_classes.json'}", "default/full"),
        "hico": lambda: defr("hico", "hico_det", "test", "image/default", ("image",)),
        "mpii": lambda: defr("mpii", f"file:{data / 'mpii_activities.json'}", "train", "mpii/map", ("mpii",)),
        "hoi_w": lambda: two_boxes("hoi_w", "hoi_w", None),
        "pic": lambda: cascade("pic", "val"),
    }
    config = configs[name]()
    train.run(config.to_dict(), str(workdir), str(data))
    if name == "hoi_w":
        return dict(scores_of_hoi_w(config, workdir, data, disk / "test_2019.json"))
    if name == "pic":
        return dict(scores_of_pic(config, workdir, data, disk))
    split = config.dataset.eval_split
    return io.read_json(workdir / f"metrics_{split}.json")["metrics"]


if __name__ == "__main__":
    root, workdirs, *names = sys.argv[1:]
    found = {}
    for one in names:
        found[one] = run(Path(root) / one / "data", workdirs, one)
        print(json.dumps({one: found[one]}), flush=True)
