"""A local web viewer for datasets and predictions.

`index` knows what is in every image, `server` answers on this machine only, `page` is what the browser gets. Started
by `python -m hoi_jax.viewer`.
"""
