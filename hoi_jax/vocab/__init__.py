"""Class tables of the datasets, as frozen values."""

from hoi_jax.vocab.tables import Vocabulary

__all__ = ["Vocabulary", "get_vocabulary"]


def get_vocabulary(name: str) -> Vocabulary:
    """Return a vocabulary by name.

    Names: hico_det, vcoco, hoi_w, pic, hoi_scenes, hoi_scenes_actions, or "file:PATH" (`custom`); or a view (`tables`):
    interactive_coco, interactive_scenes, objects_coco, objects_scenes.

    Raises:
      ValueError: unknown name; the message lists the known ones.
      DataError: the file is missing or damaged.

    >>> hico_det = get_vocabulary("hico_det")
    >>> len(hico_det.verbs), len(hico_det.objects), len(hico_det.hois)
    (117, 80, 600)
    >>> verb, object = hico_det.hois[0]
    >>> hico_det.verbs[verb], hico_det.objects[object]
    ('board', 'airplane')
    """
    if name.startswith("file:"):
        from hoi_jax.vocab.custom import read_vocabulary

        return read_vocabulary(name)
    kind, _, objects = name.partition("_")
    if kind in ("interactive", "objects") and objects in ("coco", "scenes"):
        from hoi_jax.vocab.tables import interactive_view, object_view

        base = get_vocabulary("hico_det" if objects == "coco" else "hoi_scenes")
        return (interactive_view if kind == "interactive" else object_view)(name, base)
    if name == "hico_det":
        from hoi_jax.vocab.datasets import HICO as table
    elif name == "vcoco":
        from hoi_jax.vocab.datasets import VCOCO as table
    elif name == "hoi_w":
        from hoi_jax.vocab.datasets import HOI_W as table
    elif name == "pic":
        from hoi_jax.vocab.datasets import PIC as table
    elif name == "hoi_scenes":
        from hoi_jax.vocab.scenes import SCENES as table
    elif name == "hoi_scenes_actions":
        from hoi_jax.vocab.scenes import SCENES_ACTIONS as table
    else:
        known = "hico_det, vcoco, hoi_w, pic, hoi_scenes, hoi_scenes_actions, (interactive|objects)_(coco|scenes)"
        raise ValueError(f"unknown vocabulary {name!r}; known are {known}")
    return table
