"""Recipes, word for word, on mini copies in true formats: what is built, what reaches the network, at which rates.

The commands are those of the configs' first lines (`recipes`), run in a folder that holds the files they name. The
values they are compared with are the papers' (`paper`). `test_whole_runs.py` goes on to trained and scored runs.
"""

import re

import pytest

from hoi_jax import experiment as ex
from hoi_jax.data.pipeline import Pipeline
from hoi_jax.io import read_npz
from hoi_jax.training import in_steps
from hoi_jax.training.schedules import make_schedule
from tests.rehearsals.paper import PAPERS
from tests.rehearsals.places import dataset_of, in_process, make
from tests.rehearsals.recipes import RECIPES, experiment_of, page_recipes, recipe

BATCH = 4
"""Images of the batches that are looked at; the recipes' own sizes are checked without pixels."""
LOOKING = (f"--config.batch_size={BATCH}", "--config.evaluation.batch_size=2", "--config.pipeline.prefetch=1",
           "--config.pipeline.threads=2")  # fmt: skip
"""Few images are read that nobody looks at: to fill the last batch of a shape, and ahead of a training."""
ALL = {config: recipe(config) for config in RECIPES} | page_recipes()
TRAININGS = [(name, words) for name, made in ALL.items() for words in made.trainings]
SCALES = range(480, 801, 32)

# What must have content when a method trains and when it predicts, by system: fields of the batch, counted in rows.
CONTENT = {
    "tin": (
        {"detections_valid", "detections_keypoints_px", "instances_keypoints_px", "pairs_valid"},
        {"detections_valid", "detections_keypoints_px"},
    ),
    "body_part": ({"detections_valid", "detections_keypoints_px", "pairs_valid"}, {"detections_keypoints_px"}),
    "calipso": ({"instances_valid"}, {"detections_valid"}),
    "cascade": ({"instances_valid"}, set()),
    "defr": (set(), set()),
}


def name_of(training):
    config, words = training
    return f"{config}:{words[words.index('--config') + 1].partition(':')[2]}".rstrip(":")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Recipe -> the folder in which its Build commands were run, each set of commands once."""
    folders = {}

    def get(config):
        build = ALL[config].build
        assert build, f"{config} says nowhere how its data are built"
        if build not in folders:
            folders[build] = make(tmp_path_factory.mktemp(dataset_of(build)) / "place", build, in_process)
        return folders[build]

    return get


def test_readme_and_the_page_on_training_have_recipes():
    assert {made.config for made in page_recipes().values()} == {"README.md", "docs/training.md"}


@pytest.mark.parametrize("config", RECIPES)
def test_every_config_on_real_data_has_a_recipe_and_its_papers_values(config):
    made = recipe(config)
    assert made.build and (made.trainings or made.evaluations)
    if config not in ("defr_hico_det_release.py",):
        names = [name_of((config, words)) for words in made.trainings]
        assert any(known.partition(":")[0] == config for known in PAPERS), f"no paper's values for {names}"


@pytest.fixture(scope="module")
def seen():
    """Everything that decides a pipeline's batches -> what was seen in them: many recipes read the same."""
    return {}


def decides_batches(pipeline):
    """All of a pipeline; datasets are the same where their folders are. None for a mixture."""
    if not isinstance(pipeline, Pipeline) or pipeline.features is not None:
        return None
    files = pipeline.files
    settings = pipeline.dataset, pipeline.sizes, pipeline.options, pipeline.augment, pipeline.needs
    return files.directory, files.split, pipeline.vocabulary.name, *settings, pipeline.batch_size, pipeline.seed


def look_at(batches):
    """Of all examples: sizes, rows with content by field, and whether anything is in the padding of an image."""
    hw, original, rows, pixels, clean = [], [], {}, True, True
    for batch in batches:
        valid = batch["batch_valid"]
        hw += batch["image_hw_px"][valid].tolist()
        original += batch["original_hw_px"][valid].tolist()
        for field, value in batch.items():
            if value.ndim > 1 and field != "image":
                rows[field] = rows.get(field, 0) + rows_with_content(batch, field)
        if "image" in batch:
            pixels &= bool(batch["image"].any())
            clean &= padding_is_zero(batch)
    return {"hw": hw, "original": original, "rows": rows, "pixels": pixels, "clean": clean}


def first_batch(words, folder, capsys):
    path = folder / "first.npz"
    assert in_process(["train.py", *words, *LOOKING, "--dump-batch", str(path)]) == 0
    assert "fields of the first batch" in capsys.readouterr().out
    batch = read_npz(path)
    assert batch["batch_valid"].all() and len(batch["batch_valid"]) == BATCH
    return batch


def rows_with_content(batch, field):
    value = batch[field]
    return int(value.reshape(*value.shape[:2], -1).any(axis=-1).sum())


@pytest.mark.parametrize("training", TRAININGS, ids=name_of)
def test_what_reaches_the_network_is_what_the_paper_feeds_it(training, built, seen, monkeypatch, capsys):
    config, words = training
    folder = built(config)
    monkeypatch.chdir(folder)
    experiment = experiment_of([*words, *LOOKING])
    system = experiment.build_system()
    directory = folder / "data" / experiment.dataset.name
    ex.check_requirements(experiment, directory, system, "train")
    key = decides_batches(ex.train_pipeline(experiment, directory, system.needs_train))
    if key is None or key not in seen:
        seen[key] = look_at([first_batch(words, folder, capsys)])
    looked = seen[key]
    for field in wanted_content(experiment, system, 0):
        assert looked["rows"][field] > 0, field
    check_training_sizes(experiment, looked)
    assert looked["pixels"] and looked["clean"]


@pytest.mark.parametrize("training", TRAININGS, ids=name_of)
def test_evaluation_sees_every_image_at_the_papers_size(training, built, seen, monkeypatch):
    config, words = training
    folder = built(config)
    monkeypatch.chdir(folder)
    experiment = experiment_of([*words, *LOOKING])
    system = experiment.build_system()
    directory = folder / "data" / experiment.dataset.name
    ex.check_requirements(experiment, directory, system, "predict")
    pipeline = ex.eval_pipeline(experiment, directory, experiment.dataset.eval_split, system.needs_predict)
    key = "evaluation", decides_batches(pipeline)
    if key[1] is None or key not in seen:
        seen[key] = look_at(pipeline.eval_batches())
    looked = seen[key]
    assert looked["hw"] == [list(paper_hw(experiment, height, width)) for height, width in looked["original"]]
    assert len(looked["hw"]) == pipeline.files.num_examples
    content = {field: looked["rows"][field] for field in wanted_content(experiment, system, 1)}
    assert all(content.values()), content


def wanted_content(experiment, system, place):
    """Fields that must have content, of those that this configuration reads."""
    needs = (system.needs_train, system.needs_predict)[place]
    wanted = set(CONTENT[experiment.system][place]) & needs
    if "instances_mask" in needs:
        wanted.add("instances_mask")
    if "faces_xyxy_px" in needs:
        wanted.add("faces_xyxy_px")
    if experiment.system == "defr" and experiment.dataset.name == "hico_det" and place == 1:
        wanted.add("detections_valid")
    return wanted


def paper_hw(experiment, height, width):
    """Size that the paper's code gives an image in evaluation, written out per method."""
    low, high = min(height, width), max(height, width)
    if experiment.system == "body_part":  # DETR's transforms
        short = 800 if high / low * 800 <= 1333 else int(round(1333 * low / high))
        if low == short:
            return height, width
        return (short, int(short * width / height)) if height <= width else (int(short * height / width), short)
    if experiment.system == "cascade":  # mmdetection's (1333, 800)
        scale = min(1333 / high, 800 / low)
        return int(height * scale + 0.5), int(width * scale + 0.5)
    if experiment.system == "calipso":
        short = 768 if high / low * 768 <= 1280 else int(round(1280 * low / high))
        return (short, int(short * width / height)) if height <= width else (int(short * height / width), short)
    if experiment.system == "defr":  # torchvision's Resize((672, 672))
        return 672, 672
    assert experiment.system == "tin"  # images as they are
    return height, width


def check_training_sizes(experiment, looked):
    for hw, original in zip(looked["hw"], looked["original"], strict=True):
        if experiment.system == "body_part":  # DETR draws the short side; only long images are smaller
            assert min(hw) in SCALES or max(hw) in (1332, 1333, 1334)
        else:
            assert tuple(hw) == paper_hw(experiment, *original)


def padding_is_zero(batch):
    return not any(
        image[height:].any() or image[:, width:].any()
        for image, (height, width) in zip(batch["image"], batch["image_hw_px"], strict=True)
    )


@pytest.mark.parametrize("name", PAPERS)
def test_images_and_learning_rates_are_the_papers(name, built, monkeypatch):
    config, _, phase = name.partition(":")
    monkeypatch.chdir(built(config))  # configs may read what the build made
    paper = PAPERS[name]
    words = next(w for c, w in TRAININGS if c == config and (not phase or phase in w[w.index("--config") + 1]))
    experiment = experiment_of(words)
    batch = experiment.batch_size
    train, optimizer = in_steps(experiment.train, experiment.optimizer, paper.epoch / batch, batch)
    # Within one update in a thousand: schedules are whole updates.
    assert train.num_steps * batch == pytest.approx(paper.images, rel=2e-3)
    schedule = make_schedule(optimizer.schedule, train.num_steps)

    def rate_per_image(images, base=None):
        return (optimizer.learning_rate if base is None else base) * float(schedule(int(images / batch))) / batch

    start = optimizer.schedule.warmup_steps * batch + 1
    events = {start: 1.0, **paper.falls}
    steps = optimizer.schedule.kind == "step"
    tolerance = 1e-3 if steps else 2e-2  # a cosine moves on within the update after an event
    for at, factor in events.items():
        after = at + (3 if steps or factor == 1.0 else 1) * batch  # events are whole updates
        if after < train.num_steps * batch:
            assert rate_per_image(after) == pytest.approx(paper.rate / paper.batch * factor, rel=tolerance), (
                at,
                factor,
            )
    assert optimizer.name == paper.name
    assert experiment.optimizer.weight_decay == paper.decay
    for parameter, rate in paper.others.items():
        rule = next(rule for rule in optimizer.rules if re.fullmatch(rule.pattern, parameter))
        assert (rule.learning_rate or optimizer.learning_rate) / batch == pytest.approx(rate / paper.batch)
