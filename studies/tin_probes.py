"""TIN on the scenes with only part of its inputs. Fixed before the runs: settings of the config, seed 0."""

CLAIM = "The full model is at least 5 mAP above the geometry probe and the appearance probe."

_CONFIG = "configs/tin_hoi_scenes.py"
RUNS = {
    "full": (_CONFIG, {}),
    # Only the two boxes of a pair.
    "geometry": (f"{_CONFIG}:geometry", {}),
    # Boxes and poses, the only inputs without pixels.
    "geometry_pose": (f"{_CONFIG}:geometry_pose", {}),
    # Crops of the person and of the object.
    "appearance": (f"{_CONFIG}:appearance", {}),
}
