"""Predict interactions in images: write predictions.json and a copy of each image with the predictions drawn on it.

Examples:
  python predict.py photo.jpg                        # needs requirements-photos.txt, once; see docs/photos.md
  python predict.py photos/ --detections boxes.json --prior vcoco
  python predict.py photos/ --checkpoint runs/tin --detections boxes.json --out predictions
  python predict.py photos/ --weights clip.safetensors --verbs "riding a bicycle, walking"      # untrained, no boxes
  python predict.py photos/ --weights clip.safetensors --verbs "riding a bicycle" --detections boxes.json
"""

import argparse
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.side_inputs import FaceFile, PoseFile, nearest_pose
from hoi_jax.commands.images import Boxes, Options, classify_images, collect_images, predict_images
from hoi_jax.data.coco_results import DetectionFile
from hoi_jax.data.settings import SizeSettings
from hoi_jax.photos.prior import PRIORS, origin_of_scores, with_detector_scores
from hoi_jax.predictor import Predict, load_predictor, load_zero_shot
from hoi_jax.schema import NUM_KEYPOINTS
from hoi_jax.settings import from_config
from hoi_jax.vocab import Vocabulary, get_vocabulary


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Command-line options; run `--help` for their meaning and the format of the detections."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="The detections file is a list in the COCO results format: {image_id or file_name, category_id, "
        "bbox [x, y, width,\nheight], score, optional keypoints [17 x (x, y, score)]}. image_id is the number at "
        "the end of the file name. For\nhico_det and vcoco, category_id is COCO's (1 to 90), otherwise the object "
        "class. Exit status: 0 success,\n1 some images could not be read, 2 no predictions.",
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image, or folder of images")
    model = parser.add_mutually_exclusive_group()
    model.add_argument("--checkpoint", type=Path, metavar="DIR", help="workdir, or exported checkpoint")
    model.add_argument(
        "--prior", choices=sorted(PRIORS), help="verbs by frequency in these labels, no model (default: hico_det)"
    )
    model.add_argument("--weights", type=Path, metavar="FILE", help="CLIP (.safetensors, .pt): DEFR without training")
    parser.add_argument(
        "--verbs",
        default="",
        metavar="TEXT",
        help='DEFR only: classes as text, "riding a bicycle, holding an umbrella"; any phrase without --detections',
    )
    parser.add_argument(
        "--text-weights", type=Path, metavar="FILE", help="with --verbs: CLIP weights (default: --weights)"
    )
    parser.add_argument("--size", type=int, help="with --weights: side of the squared image (default: as trained)")
    parser.add_argument("--objects", default="hico_det", help="with --weights: classes of the boxes (%(default)s)")
    parser.add_argument("--which", default="best", help="best, last, or a step (default: %(default)s)")
    parser.add_argument(
        "--detections", type=Path, metavar="JSON", help="boxes of a detector (default: YOLOv4-tiny, an extra)"
    )
    parser.add_argument(
        "--poses", type=Path, metavar="JSON", help="poses (AlphaPose, COCO keypoints), assigned to boxes by IoU"
    )
    parser.add_argument("--faces", type=Path, metavar="JSON", help="face boxes (COCO results), for facial attention")
    parser.add_argument(
        "--detector-score", type=float, default=0.25, help="minimum score of YOLOv4-tiny's boxes (%(default)s)"
    )
    parser.add_argument("--out", type=Path, default=Path("predictions"), help="folder (default: %(default)s)")
    parser.add_argument("--min-score", type=float, default=0.1, help="minimum verb score (default: %(default)s)")
    parser.add_argument("--top", type=int, default=12, help="maximum number of verbs per image (default: %(default)s)")
    parser.add_argument("--per-person", type=int, metavar="N", help="maximum per person (default: 3 with a prior)")
    parser.add_argument("--batch-size", type=int, default=4, help="images per batch (default: %(default)s)")
    parser.add_argument("--no-drawing", action="store_true", help="write predictions.json only")
    parsed = parser.parse_args(arguments)
    if parsed.top < 1 or parsed.batch_size < 1:
        parser.error("--top and --batch-size must be at least 1")
    if parsed.per_person is not None and parsed.per_person < 1:
        parser.error("--per-person must be at least 1")
    if not parsed.checkpoint and not parsed.weights and not parsed.prior:
        parsed.prior = "hico_det"
    if parsed.prior and parsed.verbs:
        parser.error("--verbs needs --checkpoint or --weights")
    if parsed.prior and parsed.per_person is None:
        parsed.per_person = 3
    if parsed.weights and not phrases_of(parsed.verbs):
        parser.error("--weights needs --verbs")
    return parsed


def phrases_of(text: str) -> list[str]:
    """The phrases of a comma-separated list."""
    return [phrase.strip() for phrase in text.split(",") if phrase.strip()]


@dataclasses.dataclass(frozen=True)
class _Model:
    """A prediction function with its metadata; `numbered` is the vocabulary of the boxes' classes."""

    predict: Predict
    vocabulary: Vocabulary
    numbered: Vocabulary
    config: Mapping[str, Any]
    manifest: Mapping[str, Any]


def _load_model(args: argparse.Namespace) -> _Model:
    phrases = phrases_of(args.verbs)
    if args.weights:
        objects = get_vocabulary(args.objects) if args.detections else None
        text = {"size": args.size, "text_weights": args.text_weights}
        predict, vocabulary, config = load_zero_shot(args.weights, phrases, objects, **text)
        return _Model(predict, vocabulary, objects or vocabulary, config, {"system": config["system"], "step": 0})
    rules: dict[str, Any] = {}
    if phrases:
        rules = {"phrases": phrases, "text_weights": args.text_weights}
    if args.prior:
        lowest = 0.0 if args.detections else args.detector_score
        rules = {"change_model": lambda model: with_detector_scores(model, lowest)}
    folder = Path(PRIORS[args.prior]) if args.prior else args.checkpoint
    predict, vocabulary, config, step = load_predictor(folder, args.which, **rules)
    # Phrases make a vocabulary of their own; the boxes' classes are numbered as in the original vocabulary.
    numbered = get_vocabulary(config["dataset"]["vocabulary"]) if phrases else vocabulary
    return _Model(predict, vocabulary, numbered, config, {"system": config["system"], "step": step})


@dataclasses.dataclass(frozen=True)
class _BoxesAndMore:
    """Boxes, with poses and faces from separate files."""

    boxes: Boxes
    human_class: int
    poses: PoseFile | None
    faces: FaceFile | None

    def of(self, image: Path) -> Mapping[str, np.ndarray]:
        table = dict(self.boxes.of(image))
        if self.poses is not None:
            people = np.flatnonzero(np.asarray(table["class"]) == self.human_class)
            places, poses = self.poses.of(image.name)
            chosen = nearest_pose(np.asarray(table["xyxy_px"])[people], places)
            keypoints = np.zeros((len(table["class"]), NUM_KEYPOINTS, 3), np.float32)
            keypoints[people[chosen >= 0]] = poses[chosen[chosen >= 0]]
            table["keypoints_px"] = keypoints
        if self.faces is not None:
            table["faces_xyxy_px"] = self.faces.of(image.name)
        return table


def check_inputs(args: argparse.Namespace, predict: Predict, boxes: Boxes, paths: Sequence[Path]) -> None:
    """Raise ValueError if the method needs poses or faces and no input provides them."""
    for requirement in getattr(predict, "requires", ()):
        if requirement.column == "detections_keypoints_px" and not args.poses:
            given = args.detections and any(np.any(boxes.of(path).get("keypoints_px", 0)) for path in paths)
            if not given:
                raise ValueError(f"poses are missing; give --poses, or --detections with keypoints ({requirement.why})")
        if requirement.column == "faces_xyxy_px" and not args.faces:
            raise ValueError(f"faces are missing; give --faces ({requirement.why})")


def _find_boxes(args: argparse.Namespace, numbered: Vocabulary) -> tuple[Boxes, str]:
    """(boxes, title): from the detections file or from the detector."""
    if args.detections:
        return DetectionFile(args.detections, numbered), args.detections.name
    from hoi_jax.photos.detector import DetectedBoxes, YoloV4Tiny, check_objects

    check_objects(numbered)
    detector = YoloV4Tiny(args.detector_score)
    return DetectedBoxes(detector), detector.name


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit status."""
    args = parse_arguments(arguments)
    try:
        paths = collect_images(args.images)
        model = _load_model(args)
        options = Options(
            sizes=from_config(SizeSettings, model.config["sizes"], "sizes"),
            batch_size=args.batch_size,
            min_score=args.min_score,
            top=args.top,
            per_person=args.per_person,
            draw=not args.no_drawing,
        )
        manifest = dict(model.manifest)
        if args.weights and not args.detections:
            failures = classify_images(paths, model.predict, model.vocabulary, options, args.out, manifest)
        else:
            boxes, manifest["boxes"] = _find_boxes(args, model.numbered)
            if args.poses or args.faces:
                more = PoseFile(args.poses) if args.poses else None, FaceFile(args.faces) if args.faces else None
                boxes = _BoxesAndMore(boxes, model.numbered.human_class, *more)
            check_inputs(args, model.predict, boxes, paths)
            if args.prior:
                manifest["scores"] = origin_of_scores(manifest["boxes"], args.prior)
                title = f"{manifest['boxes']} boxes x {args.prior} prior of boxes, no pixels"
                options = dataclasses.replace(options, title=title)
            failures = predict_images(paths, boxes, model.predict, model.vocabulary, options, args.out, manifest)
    except (ValueError, RuntimeError, OSError) as error:
        print(f"predict.py: {error}", file=sys.stderr)
        return 2
    if "scores" in manifest:
        print(manifest["scores"])
    print(f"{args.out / 'predictions.json'}: {len(paths) - failures} images, {failures} could not be read")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
