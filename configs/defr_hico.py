"""DEFR on HICO as in the paper: CLIP ViT-B/16 at 672 pixels, LSE-Sign, language embeddings as classifier.

Build:   python -m data_prep.build hico --images hico_20150920/images --annotations anno.mat
Prepare: python -m hoi_jax.systems.defr.convert --weights ViT-B-16.safetensors --size 672 --out weights/backbone.npz
         python -m hoi_jax.systems.defr.embed_labels --vocabulary hico_det --weights ViT-B-16.safetensors \\
             --out weights/classifier.npz
Run:     python train.py --config configs/defr_hico.py --workdir runs/defr_hico
         python train.py --config configs/defr_hico.py:backbone=b32,loss=bce --workdir runs/defr_hico_b32_bce
Expect:  the paper's mAP is 65.6 (B/16), 60.5 (b32), 49.7 (rn50), 53.6 (rn101); ours: not yet measured.

Options, comma separated, for the paper's tables:
  backbone=b16|b32|imagenet_b32|rn50|rn101   Tables 1, 4, 5, 6, 8 (imagenet_b32 starts from an ImageNet ViT)
  init=language|random                       Tables 4 and 5; the text encoder is that of weights/classifier.npz
  head=cosine|linear                         linear: plain logits with a bias
  loss=lse_sign|bce|focal|weighted_bce       Tables 4, 6 and 7; for weighted_bce, count the weights first:
      python -m hoi_jax.commands.count_labels --annotations data/hico/annotations_train.npz --oversample-to 40 \\
          --out weights/positive_weights.npz
  gamma=50|100|150|300|500                   the temperature study
The dataset `hico` has image-level labels; for boxes and pairs, which are HICO-DET's, see configs/defr_hico_det.py.
Images are stretched to a square by Pillow, as in the authors' code; colours and crops are applied on the device. A
ViT's batch is processed in four parts, and B/16 recomputes its blocks, so that it fits on one device with 80 GB; with
eight of them, use --config.model.backbone.remat=False to avoid recomputation.
"""

from configs import common

IMAGES = common.TRAIN_IMAGES["hico"]
BATCH = 128
EPOCH = IMAGES // BATCH  # without oversampled copies; the interval of evaluations, not the length of training
BACKBONES = {
    "b16": dict(kind="clip_vit", patch=16, remat=True),
    "b32": dict(kind="clip_vit", patch=32),
    "imagenet_b32": dict(kind="imagenet_vit", patch=32),
    "rn50": dict(kind="clip_resnet", width=64, heads=32, output=1024),
    "rn101": dict(kind="clip_resnet", width=64, heads=32, output=512, stage_sizes=(3, 4, 23, 3)),
}
HALF = (0.5, 0.5, 0.5)


def start_from(path, *patterns):
    """An entry of `train.init_from`."""
    return dict(path=path, include=patterns)


def get_config(options=""):
    chosen = common.choices(
        options,
        backbone=tuple(BACKBONES),
        init=("language", "random"),
        head=("cosine", "linear"),
        loss=("lse_sign", "bce", "focal", "weighted_bce"),
        gamma=("100", "50", "150", "300", "500"),
    )
    clip = not chosen["backbone"].startswith("imagenet")
    config = common.base(system="defr", batch_size=BATCH)
    config.dataset = dict(name="hico", vocabulary="hico_det")
    config.sizes = dict(
        image_hw=(672, 672), fit="stretch", interpolation="bicubic", instances=512, detections=64, pairs=256
    )
    config.augment = dict(flip=0.5)
    config.pipeline = dict(oversample_to=40)
    config.model = dict(
        backbone=BACKBONES[chosen["backbone"]],
        inputs=dict(size=672) if clip else dict(size=672, mean=HALF, std=HALF),
        classifier=dict(gamma=float(chosen["gamma"]), linear=chosen["head"] == "linear"),
        loss=dict(kind=chosen["loss"]),
        detection=dict(enabled=False),  # HICO's images have no boxes
    )
    if chosen["loss"] == "weighted_bce":
        config.model.loss.positive_weights = "weights/positive_weights.npz"
    config.optimizer = dict(
        name="adamw", learning_rate=1.5e-5 if clip else 1e-4, weight_decay=0.0,
        schedule=dict(kind="cosine_restarts", restart_epochs=5.0, restart_growth=1.0),
    )  # fmt: skip
    epochs = {"lse_sign": 10, "weighted_bce": 40}.get(chosen["loss"], 20)
    # A CLIP ResNet trains its batch normalisation, which needs the whole batch at once.
    parts = 1 if chosen["backbone"].startswith("rn") else 4
    config.train = dict(
        seed=0, num_steps=0, num_epochs=float(epochs), accumulate=parts, log_every=20, evaluate_every=5 * EPOCH,
        checkpoint_every=EPOCH, best_metric="image/default",
    )  # fmt: skip
    starts = [start_from("weights/backbone.npz", "params/backbone/.*", "batch_stats/backbone/.*")]
    if chosen["init"] == "language":
        starts.append(start_from("weights/classifier.npz", "params/classifier/kernel"))
    config.train.init_from = tuple(starts)
    config.evaluation = dict(batch_size=32, metrics=("image",))
    return config
