"""DEFR on HICO-DET, trained on image-level classes of annotated pairs, with detection from given boxes (Table 11).

Detection needs no further training.

Build:   python -m data_prep.build hico_det --images hico_20160224_det/images \\
             --annotations train=trainval_hico.json test=test_hico.json \\
             --detections train=detections/train2015 test=detections/test2015 --detections-top 64
         The paper's test boxes are those of DRG's detector, fine-tuned on HICO-DET: use folder test2015_finetuned_drg
         of fredzzhang/hicodet instead of detections/test2015 (docs/defr.md).
Run:     python train.py --config configs/defr_hico_det.py --workdir runs/defr_hico_det
         python evaluate.py --workdir runs/defr_hico --config configs/defr_hico_det.py     # trained on HICO
Expect:  not yet measured. The paper multiplies sigmoid, human and object score (prior_power 1, the default here); its
         32.35 Full / 33.45 Rare / 32.02 Non-Rare came from code that takes the scores to the power 2.8, as does
         configs/defr_hico_det_release.py. Table 11 is config.model.detection: blocks 1 to 6, or rule "average".

Options are those of configs/defr_hico.py, and region=mask-1 ... mask-6 or ave-pool.
"""

from configs import defr_hico

REGIONS = {**{f"mask-{n}": dict(blocks=n) for n in range(1, 7)}, "ave-pool": dict(rule="average")}


def get_config(options=""):
    parts = [part for part in options.split(",") if part]
    region = [part.removeprefix("region=") for part in parts if part.startswith("region=")] or ["mask-1"]
    config = defr_hico.get_config(",".join(part for part in parts if not part.startswith("region=")))
    config.dataset = dict(name="hico_det", vocabulary="hico_det")
    config.model.labels = "pairs"
    config.pipeline.oversample_to = 0  # HICO-DET files have no image-level labels to count
    config.model.detection = REGIONS[region[0]]
    config.train.best_metric = "default/full"
    config.evaluation = dict(batch_size=32, metrics=("hoi",))
    return config
