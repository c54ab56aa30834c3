"""Body-part interactiveness on V-COCO as in the paper, stage 1: 100 queries, 120 epochs.

Build:   python -m data_prep.build vcoco --images coco/images --coco-instances instances_vcoco_all_2014.json \\
             --annotations trainval=vcoco_trainval.json test=vcoco_test.json \\
             --detections trainval=trainval/alphapose-results.json test=test/alphapose-results.json --detections-top 64
         Detections are people with poses, as for HICO-DET: see docs/body_part.md.
Start:   python -m hoi_jax.systems.body_part.convert detr.pth detr.npz --detr-queries 100 --absent-class
         (a DETR trained without V-COCO's test images, as QPIC requires; COCO's public one includes them)
Run:     python train.py --config configs/body_part_vcoco.py --workdir runs/bp1v --config.train.init_from=detr.npz
Expect:  interactiveness AP 43.61 in the paper; ours: not yet measured.
"""

from configs import body_part_hico_det, common

IMAGES = common.TRAIN_IMAGES["vcoco"]
EPOCHS, DROP = 120, 60


def get_config(options=""):
    config = body_part_hico_det.get_config(options)
    config.dataset = dict(name="vcoco", vocabulary="vcoco", train_split="trainval", eval_split="test")
    config.sizes = dict(**common.DETR_SIZES, instances=96, detections=64, pairs=96, persons=32)
    config.model.queries = 100
    config.optimizer.schedule.step_at = (IMAGES * DROP // config.batch_size,)
    config.train.update(num_steps=IMAGES * EPOCHS // config.batch_size, evaluate_every=IMAGES // config.batch_size)
    return config
