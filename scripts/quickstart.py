"""Implementation of `scripts/quickstart.sh`: the five systems, from exported checkpoints, on the test scenes.

    python -m scripts.quickstart

Generates the test scenes (no training scenes), predicts all of them with every exported checkpoint in one process,
scores the predictions as in `evaluate.py`, and writes a page with the systems side by side. Results are in
runs/quickstart: a second run only shows them, and an interrupted run continues with the next system.
"""

import dataclasses
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

from hoi_jax import io
from hoi_jax.serialization.exported import MANIFEST, SUMS, find_folder

SYSTEMS = {
    "TIN": "tin_hoi_scenes",
    "body-part": "body_part_hoi_scenes_stage2",
    "DEFR": "defr_hoi_scenes",
    "CALIPSO": "calipso_hoi_scenes",
    "cascade": "cascade_hoi_scenes",
}
"""Name on the page -> exported checkpoint, in the order of the README."""
OUT = Path("runs/quickstart")
IMAGES = 8
METRICS = {"HOI mAP": "default/full", "rare": "default/rare", "non-rare": "default/non_rare"}
COLUMNS = ("system", "exported checkpoint", *METRICS, "kept HOI mAP")
REPORT = "report.html"
ABOUT_SCORES = (
    "Kept HOI mAP is the score in the checkpoint's scores.json, on the 400 test scenes of hoi_scenes/small. Class "
    "frequency needs the training labels and is taken from the same file.",
    "TIN, DEFR and CALIPSO take the boxes of a simulated detector; body-part and cascade detect people and objects "
    "themselves. DEFR is trained on image-level labels. These are small networks with one seed each, so the scores are "
    "not comparable with published ones.",
)
ABOUT_IMAGES = (
    "Each system shows its N best-scored interactions, N being the number of annotated ones: green is right, "
    "red is wrong. The images are evenly spaced over the whole split.",
)
TRAIN = ("train.py", "--config", "configs/tin_hoi_scenes.py", "--workdir", "runs/tin")


@dataclasses.dataclass(frozen=True)
class Row:
    """Table row of a system: `metrics` in [0, 1] on the test scenes, and the score in the checkpoint's scores.json."""

    title: str
    checkpoint: str
    metrics: Mapping[str, float]
    kept: float

    @property
    def cells(self) -> tuple[str, ...]:
        """Cells in the order of `COLUMNS`."""
        here = [f"{100 * self.metrics[metric]:.2f}" for metric in METRICS.values()]
        return (self.title, self.checkpoint, *here, f"{100 * self.kept:.2f}")


def build_test_scenes(out: Path, dataset: str) -> Path:
    """Build only the test split of `dataset` ("hoi_scenes/small"); return the data folder."""
    import tensorflow_datasets as tfds

    from data_prep.builder import build
    from data_prep.hoi_scenes import scenes_source

    tfds.disable_progress_bar()  # the builder has its own
    whole = scenes_source(dataset.partition("/")[2])
    build(dataclasses.replace(whole, splits={"test": whole.splits["test"]}), out / "data")
    return out / "data"


def predict(checkpoint: str, data_dir: Path, dataset: str, path: Path) -> None:
    """Write the predictions of an exported checkpoint for all test scenes to `path`."""
    from hoi_jax import experiment as ex
    from hoi_jax.training import load_for_evaluation, make_predictor

    variables, text, metadata = load_for_evaluation(checkpoint)
    experiment = ex.load_experiment(json.loads(text))
    system = experiment.build_system()
    pipeline = ex.eval_pipeline(experiment, data_dir / dataset, "test", system.needs_predict)
    manifest = {"system": system.name, "step": metadata.step, "split": "test", "dataset": dataset}
    run = make_predictor(system, variables)
    ex.predict_split(experiment, pipeline.eval_batches(), run, path, manifest)


def summary_of(checkpoint: str, dataset: str) -> dict[str, str]:
    """Identity of the inputs of a result, which is valid as long as they are unchanged."""
    folder = find_folder(checkpoint)
    made_for = io.read_json(folder / MANIFEST).get("dataset_fingerprint", "")
    return {"dataset": dataset, "trained_on": made_for, "files": io.read_bytes(folder / SUMS).decode()}


def finished_row(title: str, checkpoint: str, dataset: str, out: Path) -> Row | None:
    """The existing row for the same checkpoint and scenes, or None."""
    path = out / f"{checkpoint}.json"
    if not path.is_file() or not (out / f"{checkpoint}.npz").is_file():
        return None
    found = io.read_json(path)
    if found.get("of") != summary_of(checkpoint, dataset):
        return None
    return Row(title, checkpoint, found["metrics"], exported_score(checkpoint))


def exported_score(checkpoint: str, of: str = "model") -> float:
    """HOI mAP in an exported checkpoint's scores.json, of the model or of a baseline."""
    scores = io.read_json(find_folder(checkpoint) / "scores.json")
    return (scores["metrics"] if of == "model" else scores["compared"][of])["default/full"]


def new_row(title: str, checkpoint: str, data_dir: Path, dataset: str, out: Path) -> Row:
    """Predict and score one system; its scores are written last and mark it as finished."""
    from hoi_jax.annotations import Annotations
    from hoi_jax.evaluation.score import EvaluationSettings, score
    from hoi_jax.predictions import load_predictions
    from hoi_jax.vocab import get_vocabulary

    path = out / f"{checkpoint}.npz"
    predict(checkpoint, data_dir, dataset, path)
    annotations = Annotations.load(data_dir / dataset / "annotations_test.npz")
    vocabulary = get_vocabulary(annotations.vocabulary_name)
    metrics = score(EvaluationSettings(), load_predictions(path), annotations, vocabulary).metrics
    io.write_json_atomic(out / f"{checkpoint}.json", {"of": summary_of(checkpoint, dataset), "metrics": dict(metrics)})
    return Row(title, checkpoint, dict(metrics), exported_score(checkpoint))


def line_of(cells: Sequence[str]) -> str:
    """Text of a table row in the terminal."""
    return f"{cells[0]:<17}{cells[1]:<30}" + "".join(f"{cell:>14}" for cell in cells[2:])


def write_page(rows: Sequence[Row], data_dir: Path, dataset: str, out: Path) -> None:
    """Write the page with the scores of all systems and images from the whole split."""
    from hoi_jax.annotations import Annotations
    from hoi_jax.data.records import RecordFiles
    from hoi_jax.predictions import load_predictions
    from hoi_jax.report.elements import Section, paragraph, table
    from hoi_jax.report.html import ReportInput, write_report
    from hoi_jax.report.side_by_side import side_by_side, spread_rows
    from hoi_jax.vocab import get_vocabulary

    annotations = Annotations.load(data_dir / dataset / "annotations_test.npz")
    vocabulary = get_vocabulary(annotations.vocabulary_name)
    shown = spread_rows(annotations.num_images, IMAGES)
    wanted = {int(annotations.image_id[row]) for row in shown}
    images = RecordFiles(data_dir / dataset, "test").images(wanted)
    prediction_files = {row.title: load_predictions(out / f"{row.checkpoint}.npz") for row in rows}
    scores = table(COLUMNS, [*(row.cells for row in rows), baseline_cells(rows)])
    write_report(
        out / REPORT,
        ReportInput(
            title="Five systems on the same scenes",
            summary=f"All {annotations.num_images} test scenes of {dataset}, predicted and scored on this machine with "
            "the checkpoints that come with the library. Scores in percent.",
            sections=[
                Section("scores", "Scores", scores + "".join(map(paragraph, ABOUT_SCORES))),
                side_by_side(prediction_files, annotations, vocabulary, images, shown),
            ],
            notes=ABOUT_IMAGES,
        ),
    )


def baseline_cells(rows: Sequence[Row]) -> tuple[str, ...]:
    """Cells of class frequency, taken from scores.json because it needs the training labels."""
    kept = exported_score(rows[0].checkpoint, of="class_frequency")
    return ("class frequency", "(exported, not computed here)", *[""] * len(METRICS), f"{100 * kept:.2f}")


def run(out: Path = OUT, dataset: str = "hoi_scenes/small", systems: Mapping[str, str] = SYSTEMS) -> list[Row]:
    """Print the table row by row and write `out`/report.html; existing results are reused."""
    started, used = time.monotonic(), time.process_time()
    report = out / REPORT
    there = {title: finished_row(title, name, dataset, out) for title, name in systems.items()}
    whole = all(there.values()) and report.is_file()
    data_dir = out / "data"
    if not whole:
        print(f"== the test scenes of {dataset}", flush=True)
        data_dir = build_test_scenes(out, dataset)
    print(f"== {len(systems)} systems, exported checkpoints, every test scene of {dataset}; percent", flush=True)
    print(line_of(COLUMNS), flush=True)
    rows = []
    for title, checkpoint in systems.items():
        row = there[title] or new_row(title, checkpoint, data_dir, dataset, out)
        print(line_of(row.cells), flush=True)
        rows.append(row)
    print(line_of(baseline_cells(rows)))
    if not whole:
        write_page(rows, data_dir, dataset, out)
    seconds, processor = time.monotonic() - started, time.process_time() - used
    again = f"; already finished, remove {out} to start again" if whole else ""
    print(f"== report: {report} ({seconds:.0f} s, {processor:.0f} s of processor time{again})")
    return rows


def main() -> None:
    """Run, and print a command to continue with."""
    run()
    python = os.path.relpath(sys.executable)
    command = " ".join([python if not python.startswith("..") else sys.executable, *TRAIN])
    print(f"== training from scratch (minutes on two cores; builds the training scenes first):\n{command}")


if __name__ == "__main__":
    main()
