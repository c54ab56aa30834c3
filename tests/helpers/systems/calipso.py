"""A small CALIPSO and its variables for tests."""

SIZE = 64
"""Side of the test images: the coarsest of the small network's strides is 32."""


def small_config(**groups) -> dict:
    """A configuration that runs in seconds; `groups` are merged in, group by group."""
    config = {
        "backbone": {
            "stage_sizes": (1, 1, 1), "stage_strides": (1, 2, 2), "width": 8, "kind": "basic", "norm": "group",
            "stem": "small", "pyramid_width": 8,
        },
        "anchors": {"sizes": (8.0, 12.0, 16.0, 24.0, 40.0)},
        "subnet": {"blocks": 2, "width": 8, "embedding_dim": 3},
        "loss": {"max_foreground": 512},
        "predict": {},
        "max_humans": 3, "max_objects": 5,
    }  # fmt: skip
    for name, values in groups.items():
        config[name] = {**config[name], **values} if isinstance(values, dict) else values
    return config


ACCUMULATES = False
"""Batch normalisation uses the statistics of the whole batch."""
