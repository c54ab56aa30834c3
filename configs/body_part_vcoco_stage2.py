"""Body-part interactiveness on V-COCO, stage 2: detector and verbs, from the weights of stage 1.

Build:   as for `body_part_vcoco.py`
Run:     python train.py --config configs/body_part_vcoco_stage2.py:runs/bp1v --workdir runs/bp2v
         (after the colon: the workdir of stage 1)
Expect:  role AP 63.0 (scenario 1) and 65.1 (scenario 2) after suppression in the paper; ours: not yet measured.

Interactiveness comes from the network of stage 1, as on HICO-DET. The paper gives 60 epochs for HICO-DET only; the same
number here, the learning rate and its drop at epoch 40 are our choice. No sampling by sparsity is published for V-COCO.
"""

from configs import body_part_vcoco

EPOCHS, DROP = 60, 40


def get_config(stage1="runs/bp1v"):
    config = body_part_vcoco.get_config()
    per_epoch = body_part_vcoco.IMAGES / config.batch_size
    config.model.update(verbs=dict(source="decoder", layers=6), interactiveness="none", matching=dict(verb=1.0))
    config.optimizer.schedule.step_at = (int(per_epoch * DROP),)
    config.train.update(num_steps=int(per_epoch * EPOCHS), best_metric="role_s1/24", init_from=(dict(path=stage1),))
    config.evaluation.metrics = ("actions",)
    return config
