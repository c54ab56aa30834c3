"""What every line of the league table has in common."""

DATASET = "hoi_scenes/small"
FREQUENCY = "class_frequency"
METRICS = ("hoi", "interactiveness")
SUBSETS = ("crowded",)
