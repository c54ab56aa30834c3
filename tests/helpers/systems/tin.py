"""A small TIN for tests."""


def small_config(**groups) -> dict:
    """A configuration that runs in seconds; `groups` are merged in, group by group."""
    config = {
        "backbone": {
            "stage_sizes": (1, 1), "stage_strides": (1, 2), "width": 8, "kind": "basic", "norm": "group",
            "frozen": False, "roi_blocks": 1, "roi_width": 16,
        },
        "maps": {"features": (4, 4)},
        "classifier": {"appearance_layers": (16, 16), "spatial_layers": (16,), "dropout": 0.1},
        "interactiveness": {"stream_layers": (16,), "pair_layers": (16,), "dropout": 0.1},
        "sampling": {"group": 3, "augment": 3, "negatives": 4, "human_score": 0.1, "object_score": 0.1},
        "max_humans": 4, "max_objects": 6, "max_pairs": 16,
    }  # fmt: skip
    for name, values in groups.items():
        config[name] = {**config[name], **values} if isinstance(values, dict) and name in config else values
    return config


UNREAD = {"action": {"instances_class"}}
"""The class of an annotated object is used only for HOI classes, not for verbs."""
PLAIN = {"classifier": {"streams": ("spatial",)}, "interactiveness": {"streams": ("spatial", "pose")}}
"""Streams without image input."""
