"""Makes defr_trajectory.npz: 20 updates of DEFR's training by its authors' code.

    python -m tests.golden.make_defr_trajectory CHECKOUT tests/golden/defr_trajectory.npz

CHECKOUT is a work tree of https://github.com/drjinying/hts at commit a721034. Needs PyTorch (made with 2.13.0 on a CPU)
and NumPy. What runs is theirs: model and start (clip/clip_hico.py, position tables resized, classifier from text
embeddings), SignLoss, AdamW, cosine warm restarts and the loop of train.py. Ours are the inputs (rule-made weights,
random images without augmentation), stand-ins for modules that only data, logging and evaluation need, "cpu" for
"cuda", and, in the float64 run, a LayerNorm that keeps the precision of its input.
"""

import argparse
import inspect
import json
import os
import sys
import types
import zlib
from pathlib import Path
from unittest import mock

import numpy as np

from tests.helpers.clip_rule_weights import vit_shapes, weight

COMMIT = "a721034"
SIZES = dict(resolution=64, patch=16, width=128, layers=3, output=48)
IMAGE_SIZE, CLASSES, BATCHES, BATCH, EPOCHS, PERIOD = 96, 600, 4, 4, 5, 2
PREFIX = "trajectory/"
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
PACKED = ("query", "key", "value")
UPDATES_OF_PARAMS = (0, 1, 5, 9, 20)
STANDINS = (
    "hydra", "wandb", "rich", "omegaconf", "tqdm", "ftfy", "regex", "scipy", "scipy.ndimage", "matplotlib",
    "matplotlib.pylab", "torchvision", "torchvision.transforms", "checkpointer", "dataloader", "utils", "evaluate",
    "clip.simple_tokenizer",
)  # fmt: skip


def image(batch: int, number: int) -> np.ndarray:
    """[96, 96, 3] uint8."""
    seed = zlib.crc32(f"{PREFIX}image/{batch}/{number}".encode())
    return np.random.default_rng(seed).integers(0, 256, (IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)


def labels(batch: int) -> np.ndarray:
    """[B, 600] int: 1 positive, 0 ambiguous, -2 otherwise; one to four positives per image."""
    rng = np.random.default_rng(zlib.crc32(f"{PREFIX}labels/{batch}".encode()))
    table = np.full((BATCH, CLASSES), -2, np.int32)
    for row in table:
        chosen = rng.choice(CLASSES, 8, replace=False)
        row[chosen[: rng.integers(1, 5)]] = 1
        row[chosen[5:]] = 0
    return table


def start() -> dict[str, np.ndarray]:
    """CLIP's image tower by its official names, and `clip_w`: unit text embeddings of the classes; float32."""
    state = {name: weight(name, shape, PREFIX) for name, shape in vit_shapes(**SIZES).items()}
    text = weight("clip_w", (CLASSES, SIZES["output"]), PREFIX)
    state["clip_w"] = text / np.linalg.norm(text, axis=1, keepdims=True)
    return {name: array.astype(np.float32) for name, array in state.items()}


def run(checkout: Path, double: bool) -> dict[str, np.ndarray]:
    """One run of the authors' `train`: loss, gradient norm and learning rate of every update; parameters."""
    import torch
    import torch._dynamo  # which looks for modules that get stand-ins below

    torch.manual_seed(0)
    torch.set_num_threads(1)
    dtype = torch.float64 if double else torch.float32
    for name in [n for n in sys.modules if n.split(".")[0] in ("clip", "train", "criterion")]:
        del sys.modules[name]
    for name in STANDINS:
        sys.modules[name] = mock.MagicMock(name=name)
    sys.modules["hydra"].main = lambda **_: lambda function: function
    with mock.patch.object(sys, "path", [str(checkout), *sys.path]):
        import clip.layers
        from clip.clip_hico import ClipViT

        import train as theirs

    if double:
        clip.layers.LayerNorm.forward = torch.nn.LayerNorm.forward
    cfg = types.SimpleNamespace(
        model=Group(
            backbone="CLIP-ViT-B", patch_size=SIZES["patch"], classifier="clip", classifier_fp="w",
            image_size=IMAGE_SIZE, log_scale=4.61, log_scale_max=4.61, log_scale_trainable=False,
        ),
        data=Group(dataset="hico", batch_size=BATCH, n_iters=-1, validation=False),
        optim=Group(base_lr=5e-6, slow_lr_backbone=False, weight_decay=0.0),
        loss=Group(name="Sign"), eval=Group(), paths=Group(data_dir="", ckpt_out_dir=""),
        scheduler=Group(name="CosineAnnealingWarmRestarts", T_0=PERIOD, T_mult=1),
        epochs=EPOCHS, val_freq=10**6, save_freq=10**6, print_freq=10**6, wandb=False,
    )  # fmt: skip
    state = start()
    tower = {name: torch.tensor(array) for name, array in state.items() if name != "clip_w"}
    tower["text_projection"] = torch.zeros(8, SIZES["output"])
    scripted = mock.MagicMock()
    scripted.eval.return_value.state_dict.return_value = tower
    words = {"clip_w": state["clip_w"], "clip_proj": state["visual.proj"]}
    with mock.patch("torch.jit.load", return_value=scripted), mock.patch("torch.load", return_value=words):
        model = ClipViT(cfg).to(dtype)
    record: dict[str, list] = {"loss": [], "grad_norm": [], "lr": [], "params": []}

    def parameters() -> list[np.ndarray]:
        return [array for _, array in pieces(model)]

    def optimizer_of(cfg, model):
        optimizer = original(cfg, model)
        step = optimizer.step

        def recorded(self, *args, **kwargs):
            squares = [float(p.grad.double().square().sum()) for p in model.parameters() if p.grad is not None]
            record["grad_norm"].append(np.sqrt(sum(squares)))
            record["lr"].append([group["lr"] for group in optimizer.param_groups])
            result = step(*args, **kwargs)
            if len(record["lr"]) in UPDATES_OF_PARAMS:
                record["params"].append(parameters())
            return result

        optimizer.step = types.MethodType(recorded, optimizer)
        return optimizer

    class Metric:
        val = mean = 0.0

        def add_val(self, value):
            record["loss"].append(value)

    def batch(number):
        pixels = np.stack([image(number, i) for i in range(BATCH)]).transpose(0, 3, 1, 2)
        shape = (1, 3, 1, 1)
        normal = (pixels / 255.0 - np.reshape(MEAN, shape)) / np.reshape(STD, shape)
        targets = torch.tensor((labels(number) == 1).astype(np.float32))
        return torch.tensor(normal).to(dtype), targets, None, None, None

    original = theirs.build_optimizer
    record["params"].append(parameters())
    loader = [batch(number) for number in range(BATCHES)]
    theirs.build_optimizer, theirs.Metric = optimizer_of, Metric
    theirs.build_model, theirs.build_dataloader = lambda cfg: model, lambda *_: loader
    theirs.run_test, theirs.save_checkpoint = lambda *_: 0.0, lambda *_: None
    theirs.wandb_init = lambda cfg: None
    source = inspect.getsource(theirs.train).replace('torch.device("cuda")', 'torch.device("cpu")')
    exec(source, theirs.__dict__)
    theirs.train(cfg)
    with torch.no_grad():
        final = model(loader[0][0]).double().numpy()
    first, shown = record["params"][0], []
    for now in record["params"]:
        shown.append([summary(value, before) for value, before in zip(now, first, strict=True)])
    return {
        "loss": np.array(record["loss"]), "grad_norm": np.array(record["grad_norm"]),
        "lr": np.array(record["lr"])[:, 0], "params": np.array(shown), "final_logits": final,
        "names": np.array([name for name, _ in pieces(model)]),
    }  # fmt: skip


COLUMNS = ("sum", "abs_sum", "first0", "first1", "first2", "last1", "displacement_sum", "displacement_norm")


def pieces(model) -> list[tuple[str, np.ndarray]]:
    """Names and float64 copies of what is trained, packed input projections as query, key and value."""
    found = []
    for name, value in model.named_parameters():
        array = value.detach().double().numpy().copy()
        if value.requires_grad and ".in_proj_" in name:
            found += [(f"{name}.{part}", a) for part, a in zip(PACKED, np.split(array, 3), strict=True)]
        elif value.requires_grad:
            found.append((name, array))
    return found


def summary(value: np.ndarray, before: np.ndarray) -> list[float]:
    flat, moved = value.ravel(), (value - before).ravel()
    return [
        flat.sum(), np.abs(flat).sum(), *flat[:3], flat[-1], moved.sum(), np.sqrt(np.square(moved).sum()),
    ]  # fmt: skip


class Group(types.SimpleNamespace):
    """A group of a config with `get`."""

    def get(self, name, default=None):
        return getattr(self, name, default)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    import torch

    single, double = (run(options.checkout, precise) for precise in (False, True))
    drift = {
        name: np.abs(single[name] - double[name]) / np.maximum(np.abs(double[name]), 1e-12)
        for name in ("loss", "grad_norm")
    }
    tolerance = np.maximum(20 * np.maximum.accumulate(drift["loss"]), 1e-4)
    meta = {
        "repository": "drjinying/hts", "commit": COMMIT, "torch": torch.__version__, "name_prefix": PREFIX,
        "sizes": SIZES, "image_size": IMAGE_SIZE, "classes": CLASSES, "batches": BATCHES, "batch": BATCH,
        "epochs": EPOCHS, "updates": EPOCHS * BATCHES, "period_epochs": PERIOD, "base_lr": 5e-6, "log_scale": 4.61,
        "updates_of_params": UPDATES_OF_PARAMS, "columns": COLUMNS, "names": single.pop("names").tolist(),
        "float32_against_float64": {name: float(values.max()) for name, values in drift.items()},
    }  # fmt: skip
    arrays = {name: value for name, value in single.items()}
    arrays |= {f"{name}/f64": double[name] for name in ("loss", "grad_norm", "params", "final_logits")}
    for number in range(BATCHES):
        arrays[f"batch{number}/labels"] = labels(number).astype(np.int8)
    arrays["loss/suggested_rtol"] = tolerance
    arrays["meta_json"] = np.array(json.dumps(meta))
    np.savez_compressed(options.out, **arrays)  # type: ignore[arg-type]
    print(f"{options.out}: {os.path.getsize(options.out) / 1000:.0f} kB")
    for update in range(EPOCHS * BATCHES):
        print(f"{update + 1:3} loss {single['loss'][update]:.6f} lr {single['lr'][update]:.3e}")
    print(meta["float32_against_float64"])


if __name__ == "__main__":
    main()
