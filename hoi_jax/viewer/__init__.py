"""A viewer to look through a dataset: pages of images by class, verb, number of people and errors, in a web browser.

`index` knows what is in every image, `server` answers on this machine only, `page` is what the browser gets. Started
by `python -m hoi_jax.viewer`.
"""
