"""Names and class tables of the datasets: frozen values, no arrays on devices."""

from hoi_jax.vocab.tables import Vocabulary

__all__ = ["Vocabulary", "get_vocabulary"]


def get_vocabulary(name: str) -> Vocabulary:
    """The vocabulary called `name`: hico_det, vcoco, hoi_scenes, hoi_scenes_actions, or "file:PATH" (`activities`).

    Raises:
      ValueError: for another name, listing these; DataError for a file that is not there or is damaged.
    """
    if name.startswith("file:"):
        from hoi_jax.vocab.activities import read_vocabulary

        return read_vocabulary(name)
    if name == "hico_det":
        from hoi_jax.vocab.hico import HICO as table
    elif name == "vcoco":
        from hoi_jax.vocab.vcoco import VCOCO as table
    elif name == "hoi_scenes":
        from hoi_jax.vocab.scenes import SCENES as table
    elif name == "hoi_scenes_actions":
        from hoi_jax.vocab.scenes import SCENES_ACTIONS as table
    else:
        raise ValueError(f"unknown vocabulary {name!r}; there are hico_det, vcoco, hoi_scenes, hoi_scenes_actions")
    return table
