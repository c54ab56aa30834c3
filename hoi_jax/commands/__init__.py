"""Implementation of `evaluate.py` and `predict.py`, and the programs run by `python -m hoi_jax.commands.*`."""
