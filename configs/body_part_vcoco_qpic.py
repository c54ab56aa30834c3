"""QPIC (Tamura et al., CVPR 2021) on V-COCO: its HICO-DET recipe with a class for absent objects.

Build:   python -m data_prep.build vcoco --images coco/images --coco-instances instances_vcoco_all_2014.json \\
             --annotations trainval=vcoco_trainval.json test=vcoco_test.json
         (neither detections nor poses are needed)
Start:   python -m hoi_jax.systems.body_part.convert detr.pth detr.npz --detr-queries 100 --absent-class
         (a DETR trained without V-COCO's test images, as the authors require; COCO's public one includes them)
Run:     python train.py --config configs/body_part_vcoco_qpic.py --workdir runs/qpicv --config.train.init_from=detr.npz
Expect:  role AP 58.8 (scenario 1) and 61.0 (scenario 2) in its paper; ours: not yet measured.
"""

from configs import body_part_hico_det_qpic, body_part_vcoco

EPOCHS, DROP = body_part_hico_det_qpic.EPOCHS, body_part_hico_det_qpic.DROP


def get_config():
    return on_vcoco(body_part_hico_det_qpic.get_config(), EPOCHS, DROP)


def on_vcoco(config, epochs, drop):
    """Convert a HICO-DET recipe to V-COCO's records, length and metric; with `drop` = 0 its schedule is kept."""
    vcoco = body_part_vcoco.get_config()
    config.dataset, config.sizes = vcoco.dataset, vcoco.sizes
    per_epoch = body_part_vcoco.IMAGES / config.batch_size
    if drop:
        config.optimizer.schedule.step_at = (int(per_epoch * drop),)
    config.train.update(
        num_steps=int(per_epoch * epochs), evaluate_every=vcoco.train.evaluate_every, best_metric="role_s1/24"
    )
    config.evaluation.metrics = ("actions",)
    return config
