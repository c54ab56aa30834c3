"""What the programs at the top do (`evaluate.py`, `predict.py`), and the smaller programs of `python -m`."""
