"""Values shared by several configs, as plain values without imports of the library."""

from ml_collections import ConfigDict

DETR_SIZES = dict(
    image_hw=(1344, 1344), short_side=800, long_side=1333,
    buckets=(
        (800, 1088), (1088, 800), (800, 1216), (1216, 800), (800, 1344), (1344, 800), (640, 960), (960, 640),
    ),
)  # fmt: skip
"""DETR's evaluation size for every image, in static shapes with sides that are multiples of 32.

On HICO-DET, 96 % of their cells are image in evaluation, and 73 % in training, which also draws small scales
(`docs/training.md`).
"""

TRAIN_IMAGES = {
    "hico_det": 37633,  # with at least one annotated pair
    "hico": 38116,
    "vcoco": 5400,  # trainval
    "hoi_w": {"ablation": 19_843, "challenge": 29_842},
    "mpii": 8218,
}
"""Number of training images per dataset, for schedules in epochs."""


def adamw(learning_rate: float = 2e-3, clip_norm: float = 10.0) -> dict:
    """Optimizer for small networks trained from scratch: warm-up of 100 updates, then half a cosine to 0."""
    return dict(
        name="adamw", learning_rate=learning_rate, weight_decay=1e-4, clip="global", clip_norm=clip_norm,
        schedule=dict(kind="cosine", warmup_steps=100),
    )  # fmt: skip


def base(**values) -> ConfigDict:
    """A config with the groups of every experiment; keys that a config adds later are checked on loading."""
    config = ConfigDict()
    config.train = ConfigDict({"seed": 0})
    config.optimizer = ConfigDict()
    config.augment = ConfigDict()
    config.pipeline = ConfigDict()
    config.evaluation = ConfigDict()
    config.update(values)
    return config


def choices(text: str, free: tuple[str, ...] = (), **allowed: tuple[str, ...]) -> dict[str, str]:
    """Parse the options after the colon of a config's name, "key=value,key=value".

    The first allowed value is the default. Keys in `free` accept any text (names and folders), "" by default.

    Raises:
      ValueError: a key or value is unknown; the message lists the allowed ones.
    """
    chosen = {key: values[0] for key, values in allowed.items()} | dict.fromkeys(free, "")
    for part in filter(None, text.split(",")):
        key, _, value = part.partition("=")
        if key not in free and value not in allowed.get(key, ()):
            options = "; ".join(f"{name}={'|'.join(values)}" for name, values in allowed.items())
            raise ValueError(f"unknown option {part!r}, expected some of {options}")
        chosen[key] = value
    return chosen
