"""A local web viewer for datasets and predictions.

`index` has the content of every image, `server` answers requests from this machine only, and `page` is the page in the
browser. Start it with `python -m hoi_jax.viewer`.
"""
