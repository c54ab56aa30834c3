"""Dataset, metrics and subsets of the league table."""

DATASET = "hoi_scenes/small"
FREQUENCY = "class_frequency"
METRICS = ("hoi", "interactiveness")
SUBSETS = ("crowded",)
