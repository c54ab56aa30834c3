"""TIN's modes (Table 3 and Figure 6 of the paper) and ablations (Table 5), as options of every TIN config.

    --config configs/tin_hico_det.py:mode=c
    --config configs/tin_hoi_scenes.py:mode=join,p=runs/p_actions,c=runs/c_hoi

mode   trained parts                                                          the paper's name
joint  C and P together on this dataset D                                     R P_D C_D
c      C alone                                                                R C_D
p      P alone, with its own residual stages, on labels of this dataset,      P_D, P_T1, P_T2
       of the other one, or of both (`on=own|other|both`)
join   none: P of the run `p` and C of the run `c` are combined (one step     R P_T1 C_D, R P_T2 C_D
       without changes writes the checkpoint)
tune   C of the run `c` on the other dataset, with new last layers,           R C_T
       for one epoch
r      the extractor alone, for the object classes of pairs (scenes only)     R

`p_streams=human|object|spatial`: inputs of P. `nis=on|off`: suppress pairs below the threshold or not, overriding the
config. `without=nis|lis|both`: omit a rule of inference (Table 5; without LIS, L = 1); `without=product`: use the
product of the confidences instead of LIS (section 4.3). These do not affect training, so that one checkpoint can be
evaluated with each (`evaluate.py --workdir W --config FILE:OPTIONS`). `features=NAME`: read R's maps from a cache.
`r=WORKDIR`: initialise residual stages, and R if it is not cached, from that run (or file: `r=resnet50.npz`).
"""

from ml_collections import ConfigDict

from configs import common

MODES = ("joint", "c", "p", "join", "tune", "r")
P_STREAMS = {
    "all": ("human", "object", "spatial", "pose"),
    "human": ("human",),
    "object": ("object",),
    "spatial": ("spatial", "pose"),
}


def parse(text: str, modes: tuple[str, ...] = MODES[:-1], **more: tuple[str, ...]) -> ConfigDict:
    """Parse the options in `text`; `more` are those of one dataset."""
    options = common.choices(
        text,
        free=("r", "p", "c", "features"),
        mode=modes,
        on=("own", "other", "both"),
        p_streams=tuple(P_STREAMS),
        without=("none", "nis", "lis", "both", "product"),
        nis=("config", "on", "off"),
        **more,
    )
    return ConfigDict(options)


def apply(
    config: ConfigDict, arg: ConfigDict, *, view: str, own: tuple[str, str], other: tuple[str, str], epoch: int
) -> ConfigDict:
    """Apply options to `config`.

    Args:
      arg: options from `parse`.
      view: vocabulary for training interactiveness (`interactive_coco`, `interactive_scenes`).
      own, other: (dataset, vocabulary) of the labels of this dataset and of the one to transfer from.
      epoch: steps of one epoch, in the unit of `train.num_steps`; `tune` trains for one and is evaluated at its end.
    """
    model, train = config.model, config.train
    model.update(backbone={}, classifier={}, interactiveness={})  # adds missing groups without emptying existing ones
    train.init_from = ()
    if arg.features:
        config.dataset.features = arg.features
        config.sizes.buckets = ()  # cached maps have one shape
        model.backbone.update(cached=True, frozen=True)
    if arg.p_streams != "all":
        model.interactiveness.streams = P_STREAMS[arg.p_streams]

    if arg.mode in ("joint", "c") and arg.r:
        train.init_from = (dict(path=arg.r, include=(r"(params|batch_stats)/appearance/.*",)),)
    if arg.mode in ("c", "tune"):
        model.interactiveness.streams = ()
    if arg.mode == "tune":
        all_but_scores = (r"params/(?!classifier/\w+_scores).*", r"batch_stats/.*")
        train.update(init_from=(dict(path=arg.c, include=all_but_scores),), num_steps=epoch, evaluate_every=epoch)

    if arg.mode == "p":
        name, labels = other if arg.on == "other" else own
        config.dataset.update(name=name, labels=labels, vocabulary=view)
        if arg.on == "both":
            split = config.dataset.get("train_split", "train")
            config.dataset.mix = (dict(name=other[0], labels=other[1], split=split),)
        model.classifier.streams = ()
        model.interactiveness.own_stages = True
        train.update(evaluate_every=0, best_metric=None)
        if arg.r:  # P's own stages are initialised from the extractor run.
            stages = (r"(params|batch_stats)/interactiveness_stages/.*",)
            rename = (("/appearance/", "/interactiveness_stages/"),)
            train.init_from = (dict(path=arg.r, include=stages, rename=rename),)

    if arg.mode == "join":
        model.interactiveness.own_stages = True
        c = (r"(params|batch_stats)/(appearance|classifier|context)/.*",)
        p = (r"(params|batch_stats)/(interactiveness|interactiveness_stages)/.*",)
        train.init_from = (dict(path=arg.c, include=c), dict(path=arg.p, include=p))
        train.update(num_steps=1, evaluate_every=1, log_every=1)
        # All parameters are frozen.
        config.optimizer = dict(name="sgd", learning_rate=1.0, rules=(dict(pattern=".*", frozen=True),))

    if arg.nis != "config":
        model.update(nis=dict(enabled=arg.nis == "on"))
    if arg.without in ("nis", "both"):
        model.update(nis=dict(enabled=False))
    if arg.without in ("lis", "both"):
        model.update(score=dict(lis="none"))
    if arg.without == "product":
        model.update(score=dict(lis="product"))
    return config
