"""A small body-part system and its variables for tests."""


def small_config(**groups) -> dict:
    config = {
        "backbone": {
            "stage_sizes": (1, 1), "stage_strides": (1, 2), "width": 8, "kind": "basic", "norm": "group",
            "stem": "small",
        },
        "transformer": {
            "hidden": 16, "heads": 2, "feedforward": 24, "dropout": 0.1, "encoder_layers": 1, "box_layers": 1,
        },
        "verbs": {"source": "decoder", "layers": 1},
        "parts": {"person_score": 0.1},
        "queries": 7,
    }  # fmt: skip
    for name, values in groups.items():
        config[name] = {**config.get(name, {}), **values} if isinstance(values, dict) else values
    return config


def only(batch, names):
    return {name: value for name, value in batch.items() if name in names}


VARIANTS = {"": {}, "point": {"query": "point"}}
PADDED_LOSS = "evaluated"
"""Dropout is drawn over the tokens of the padded image."""
LOSS_RTOL = 5e-4
"""Random networks predict such thin boxes that their GIoU has few accurate digits."""
PAIRS_WITHOUT_DETECTIONS = True
"""Pairs are decoded from queries; detections are used only for body parts."""
