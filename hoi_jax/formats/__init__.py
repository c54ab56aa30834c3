"""File formats of labels and predictions."""
