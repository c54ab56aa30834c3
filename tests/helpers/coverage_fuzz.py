"""A small coverage-guided fuzzer for the parsers: inputs that reach new code are kept and mutated further.

    python -m tests.helpers.coverage_fuzz [--inputs N] [--seconds S] [--seed K] [TARGET …]

Each target reads one file. An input is a fault if reading it gives neither a result nor a DataError, or takes longer
than `SLOW_S`. Coverage counts pairs of successive lines in this project's packages (sys.settrace), so that no other
package is needed. Faults are written to the folder `--faults`, one file each.
"""

import argparse
import copy
import json
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import flax.serialization
import numpy as np
from PIL import Image

from data_prep.images import ImageFolder
from data_prep.side_inputs import FaceFile, PoseFile
from hoi_jax import io
from hoi_jax.data.coco_results import DetectionFile
from hoi_jax.formats.labels.detect import open_labels, open_table
from hoi_jax.formats.labels.writers import write
from hoi_jax.serialization.flax_file import read_flax
from hoi_jax.serialization.state import read_state
from hoi_jax.vocab import get_vocabulary
from tests.helpers import minis
from tests.helpers.paths import ROOT

SLOW_S = 5.0
Reader = Callable[[Path], object]
WORDS = [b"null", b"NaN", b"-1", b"1e400", b"[]", b"{}", b'""', b"true", b"9" * 30, b"\xff\xfe", b"\x80\x02", b"c\n"]
VALUES = [None, True, -1, 0, 2**31, 2**63, 10**400, float("nan"), float("inf"), "", "x", [], {}, [[]], [1, [2]]]


class Coverage:
    """Pairs of successive lines of the project's code executed since `start`."""

    def __init__(self):
        self.seen: set[tuple[str, int, int]] = set()
        self.new = False
        self._ours: dict[str, bool] = {}

    def _is_ours(self, file: str) -> bool:
        if file not in self._ours:
            path = Path(file)
            self._ours[file] = any(folder in path.parents for folder in (ROOT / "hoi_jax", ROOT / "data_prep"))
        return self._ours[file]

    def trace(self, frame, event, argument):
        if not self._is_ours(frame.f_code.co_filename):
            return None
        last = 0

        def line(frame, event, argument):
            nonlocal last
            if event == "line":
                pair = (frame.f_code.co_filename, last, frame.f_lineno)
                last = frame.f_lineno
                if pair not in self.seen:
                    self.seen.add(pair)
                    self.new = True
            return line

        return line


def labels_reader(path: Path) -> object:
    """Read a label file of any layout completely."""
    labels = open_labels(path)
    found = labels.annotations()
    boxes = found["instances_xyxy_px"]
    assert np.isfinite(boxes).all() and (boxes[:, 2:] >= boxes[:, :2]).all()
    return [labels.notes(row) for row in range(len(labels))]


def image_reader(path: Path) -> object:
    return ImageFolder(path.parent, upright=True).read(path.name)


def _npz(**arrays: np.ndarray) -> bytes:
    stream = BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **arrays)
    return stream.getvalue()


def targets(folder: Path) -> dict[str, tuple[str, Reader, list[bytes]]]:
    """Name -> (file ending, reader, first inputs)."""
    hico = io.read_json(minis.hico_json(folder / "instances_test2015.json", 2))
    labels = open_table(hico, "x").annotations()
    own = io.read_json(minis.own(folder / "own")["train"])
    hoi_w = io.read_json(minis.hoi_w(folder / "hoi_w")["train"])[:2]
    texts = [own, {**hico, "correspondence": []}, hoi_w, write(labels, "hoi_a"), write(labels, "hake")]
    results = [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5, "keypoints": [1, 2, 3] * 17}]
    mats = [minis.hico_det(folder / "a")["test"], minis.hico(folder / "b")[""]]
    image = Image.fromarray((np.arange(1200) % 256).astype(np.uint8).reshape(20, 20, 3))
    kinds = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP")
    torch = [path.read_bytes() for path in sorted((ROOT / "tests" / "serialization" / "torch").iterdir())]
    tensor = np.arange(6, dtype=np.float32).reshape(2, 3)
    io.write_safetensors_atomic(folder / "x.safetensors", {"a": tensor})
    flax_file = flax.serialization.msgpack_serialize({"params": {"w": tensor, "n": np.float32(2)}, "step": 3})

    def detections(path: Path) -> object:
        return DetectionFile(path, get_vocabulary("hico_det"))

    texts = [json.dumps(table).encode() for table in texts]
    rows = [json.dumps(results).encode()]
    return {
        "labels": (".json", labels_reader, texts),
        "mat": (".mat", labels_reader, [path.read_bytes() for path in mats]),
        "images": (".png", image_reader, [minis.make_image(image, kind) for kind in kinds]),
        "torch": (".pth", read_state, torch),
        "npz": (".npz", read_state, [_npz(a=tensor)]),
        "safetensors": (".safetensors", read_state, [(folder / "x.safetensors").read_bytes()]),
        "flax": ("", read_flax, [flax_file]),
        "poses": (".json", PoseFile, rows),
        "faces": (".json", FaceFile, rows),
        "detections": (".json", detections, rows),
    }


def changed_json(data: bytes, dice: random.Random) -> bytes | None:
    """JSON with one value replaced, removed or doubled; None if it does not parse."""
    try:
        table = json.loads(data)
    except (ValueError, RecursionError):
        return None
    table = copy.deepcopy(table)
    for _ in range(dice.randint(1, 3)):
        node, key, holder = table, None, None
        while isinstance(node, (dict, list)) and node and (holder is None or dice.random() < 0.8):
            holder, key = node, dice.choice(list(node) if isinstance(node, dict) else range(len(node)))
            node = holder[key]
        if holder is None:
            break
        kind = dice.random()
        if kind < 0.6:
            holder[key] = copy.deepcopy(dice.choice(VALUES))
        elif kind < 0.8:
            del holder[key]
        elif isinstance(holder, list):
            holder.insert(key, copy.deepcopy(node))
    try:
        return json.dumps(table).encode()
    except (ValueError, RecursionError):
        return None


def changed_bytes(data: bytes, other: bytes, dice: random.Random) -> bytes:
    """Data with one to four bytes or ranges replaced, removed, doubled, or taken from another input."""
    out = bytearray(data or b"\0")
    for _ in range(dice.choice((1, 1, 2, 4))):
        at = dice.randrange(len(out) + 1)
        kind = dice.randrange(7)
        if kind == 0 and at < len(out):
            out[at] ^= 1 << dice.randrange(8)
        elif kind == 1 and at < len(out):
            out[at] = dice.choice((0, 1, 127, 128, 255, dice.randrange(256)))
        elif kind == 2:
            del out[at : at + dice.choice((1, 4, 64))]
        elif kind == 3:
            out[at:at] = out[at : at + dice.choice((1, 8, 64))]
        elif kind == 4:
            word = dice.choice(WORDS)
            out[at : at + dice.choice((0, len(word)))] = word
        elif kind == 5 and other:
            start = dice.randrange(len(other))
            out[at : at + 32] = other[start : start + 32]
        else:
            del out[at:]
        if not out:
            out += b"\0"
    return bytes(out)


def fuzz(
    title: str, ending: str, read: Reader, first: list[bytes], inputs: int, seconds: float, seed: int, faults: Path
) -> dict[str, float]:
    """Fuzz one target; return counts of inputs tried, kept, refused, of faults, and of line pairs at start and end."""
    dice, coverage = random.Random(seed), Coverage()
    kept, counts = [], dict.fromkeys(("inputs", "kept", "refused", "faults", "first_pairs"), 0)
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"x{ending}"
        while counts["inputs"] < inputs + len(first) and time.perf_counter() - begin < seconds:
            number = counts["inputs"]
            if number < len(first):
                data = first[number]
            else:
                source = dice.choice(kept[-20:] if dice.random() < 0.5 else kept)
                data = changed_json(source, dice) if ending == ".json" and dice.random() < 0.7 else None
                data = changed_bytes(source, dice.choice(kept), dice) if data is None else data
            path.write_bytes(data)
            coverage.new, fault, start = False, "", time.perf_counter()
            sys.settrace(coverage.trace)
            try:
                read(path)
            except io.DataError:
                counts["refused"] += 1
            except Exception:
                fault = traceback.format_exc()
            finally:
                sys.settrace(None)
            if time.perf_counter() - start > SLOW_S:
                fault = fault or f"{time.perf_counter() - start:.1f} s"
            counts["inputs"] += 1
            if coverage.new and len(data) < 1 << 20:
                kept.append(data)
            if fault:
                counts["faults"] += 1
                faults.mkdir(parents=True, exist_ok=True)
                (faults / f"{title}_{number}{ending}").write_bytes(data)
                (faults / f"{title}_{number}.txt").write_text(fault)
            if counts["inputs"] == len(first):
                counts["first_pairs"] = len(coverage.seen)
    return counts | {"kept": len(kept), "pairs": len(coverage.seen), "seconds": round(time.perf_counter() - begin, 1)}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="TARGET")
    parser.add_argument("--inputs", type=int, default=2000, help="inputs per target (default: 2000)")
    parser.add_argument("--seconds", type=float, default=1e9, help="maximum seconds per target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--faults", type=Path, default=Path("fuzz_faults"))
    options = parser.parse_args(arguments)
    total = 0
    with tempfile.TemporaryDirectory() as folder:
        known = targets(Path(folder))
        for name in options.names or known:
            ending, read, first = known[name]
            counts = fuzz(
                name, ending, read, first, options.inputs, options.seconds, options.seed, options.faults
            )  # fmt: skip
            total += int(counts["faults"])
            print(json.dumps({name: counts}), flush=True)
    return int(total > 0)


if __name__ == "__main__":
    sys.exit(main())
