"""Analysis of scored predictions."""
