"""Does TIN on the scenes need all of its evidence? Fixed before it was run: settings of the config, seed 0."""

CLAIM = "The full model is at least 5 mAP above the geometry probe and the appearance probe."

_CONFIG = "configs/tin_hoi_scenes.py"
RUNS = {
    "full": (_CONFIG, {}),
    # The two boxes of a pair and nothing else.
    "geometry": (f"{_CONFIG}:geometry", {}),
    # Boxes and poses: all that is known without looking at a pixel.
    "geometry_pose": (f"{_CONFIG}:geometry_pose", {}),
    # Crops of the person and of the object.
    "appearance": (f"{_CONFIG}:appearance", {}),
}
