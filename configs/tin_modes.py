"""TIN's modes (Table 3 and Figure 6 of the paper) and ablations (Table 5), as options of every TIN config.

    --config configs/tin_hico_det.py:mode=c
    --config configs/tin_hoi_scenes.py:mode=join,p=runs/p_actions,c=runs/c_hoi

mode   what is trained                                                        the paper's name
joint  C and P together on this dataset D                                     R P_D C_D
c      C alone                                                                R C_D
p      P alone, with residual stages of its own; `on=own|other|both` says     P_D, P_T1, P_T2
       whose labels: this dataset's, the other one's, or both at once
join   nothing: P of the run `p`, C of the run `c`, put together (one idle    R P_T1 C_D, R P_T2 C_D
       step writes the checkpoint)
tune   C of the run `c` on the other dataset, its last layers replaced,       R C_T
       for one epoch
r      the extractor alone, to tell the objects of pairs (scenes only)        R

`p_streams=human|object|spatial`: what P sees. `nis=on|off`: whether pairs below the threshold are deleted, whatever
the config says. `without=nis|lis|both`: a rule of inference left out (Table 5; without LIS, L = 1), `without=product`:
the product of the confidences in its place (section 4.3). No training differs, so one checkpoint serves (`evaluate.py
--workdir W --config FILE:OPTIONS`). `features=NAME`: R's maps come from a cache. `r=WORKDIR`: residual stages, and R
where it is not cached, start as copies of that run's (or file's: `r=resnet50.npz`).
"""

from typing import Any

from ml_collections import ConfigDict

from configs import common

MODES = ("joint", "c", "p", "join", "tune", "r")
P_STREAMS = {
    "all": ("human", "object", "spatial", "pose"),
    "human": ("human",),
    "object": ("object",),
    "spatial": ("spatial", "pose"),
}
WITHOUT: dict[str, dict[str, Any]] = {
    "none": {},
    "nis": {"model.nis.enabled": False},
    "lis": {"model.score.lis": "none"},
    "both": {"model.nis.enabled": False, "model.score.lis": "none"},
    "product": {"model.score.lis": "product"},
}
NIS = {"config": {}, "on": {"model.nis.enabled": True}, "off": {"model.nis.enabled": False}}


def parse(text: str, modes: tuple[str, ...] = MODES[:-1], **more: tuple[str, ...]) -> dict[str, str]:
    """The options in `text`; `more` are those of one dataset."""
    return common.choices(
        text,
        free=("r", "p", "c", "features"),
        mode=modes,
        on=("own", "other", "both"),
        p_streams=tuple(P_STREAMS),
        without=tuple(WITHOUT),
        nis=tuple(NIS),
        **more,
    )


def apply(
    config: ConfigDict, options: dict[str, str], *, view: str, own: tuple[str, str], other: tuple[str, str], epoch: int
) -> ConfigDict:
    """`config`, changed as the options say.

    Args:
      view: vocabulary in which interactiveness is learned (`interactive_coco`, `interactive_scenes`).
      own, other: (dataset, vocabulary) of the labels of this dataset and of the one to transfer from.
      epoch: steps of one epoch, written as `train.num_steps` is; `tune` trains one and is scored at its end.
    """
    mode = options["mode"]
    for group in ("backbone", "classifier", "interactiveness"):
        if group not in config.model:
            config.model[group] = ConfigDict()
    if options["features"]:
        config.dataset.features = options["features"]
        config.sizes.buckets = ()  # stored maps have one shape
        config.model.backbone.update(cached=True, frozen=True)
    if options["p_streams"] != "all":
        config.model.interactiveness.streams = P_STREAMS[options["p_streams"]]
    config.train.init_from = _stages(options)
    if mode in ("c", "tune"):
        config.model.interactiveness.streams = ()
    if mode == "p":
        _interactiveness_only(config, options["on"], view, own, other)
    if mode == "tune":
        kept = (r"params/(?!classifier/\w+_scores).*", r"batch_stats/.*")
        config.train.init_from = (dict(path=options["c"], include=kept),)
        config.train.num_steps = epoch
        config.train.evaluate_every = epoch
    if mode == "join":
        _join(config, options)
    for key, value in (NIS[options["nis"]] | WITHOUT[options["without"]]).items():
        group = key.split(".")[1]
        if group not in config.model:
            config.model[group] = ConfigDict()
        config.model[group][key.split(".")[2]] = value
    return config


def _stages(options: dict[str, str]) -> tuple[dict[str, Any], ...]:
    """Residual stages start as copies of the extractor run's, C's and P's own alike."""
    if not options["r"]:
        return ()
    shared = dict(path=options["r"], include=(r"(params|batch_stats)/appearance/.*",))
    stages = (r"(params|batch_stats)/interactiveness_stages/.*",)
    own = dict(path=options["r"], include=stages, rename=(("/appearance/", "/interactiveness_stages/"),))
    return (own,) if options["mode"] == "p" else (shared,)


def _interactiveness_only(config: ConfigDict, on: str, view: str, own: tuple[str, str], other: tuple[str, str]) -> None:
    first = other if on == "other" else own
    config.dataset.update(name=first[0], labels=first[1], vocabulary=view)
    if on == "both":
        config.dataset.mix = (dict(name=other[0], labels=other[1], split=config.dataset.get("train_split", "train")),)
    config.model.classifier.streams = ()
    config.model.interactiveness.own_stages = True
    config.train.evaluate_every = 0
    config.train.best_metric = None


def _join(config: ConfigDict, options: dict[str, str]) -> None:
    config.model.interactiveness.own_stages = True
    c = (r"(params|batch_stats)/(appearance|classifier|context)/.*",)
    p = (r"(params|batch_stats)/(interactiveness|interactiveness_stages)/.*",)
    config.train.init_from = (dict(path=options["c"], include=c), dict(path=options["p"], include=p))
    config.train.update(num_steps=1, evaluate_every=1, log_every=1)
    # Nothing moves: every parameter is frozen.
    config.optimizer = dict(name="sgd", learning_rate=1.0, rules=(dict(pattern=".*", frozen=True),))
