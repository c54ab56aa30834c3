"""Body-part interactiveness on HICO-DET, stage 2: detector and verbs, from the weights of stage 1.

Build:   as for `body_part_hico_det.py` (stage 1 uses body parts, this network does not)
Run:     python train.py --config configs/body_part_hico_det_stage2.py:runs/bp1 --workdir runs/bp2
         (after the colon: the workdir of stage 1)
Expect:  HOI mAP 34.09 before and 35.15 after suppression in the paper; ours: not yet measured.

Interactiveness comes from the network of stage 1: it is transferred from that network's predictions to these
(`hoi_jax.evaluation.postprocess.transfer`). The paper gives 60 epochs; the learning rate and its drop at epoch 40 are
our choice. As in QPIC, the assignment includes verbs, with QPIC's weight.
"""

from configs import body_part_hico_det

EPOCHS, DROP = 60, 40


def get_config(stage1="runs/bp1"):
    config = body_part_hico_det.get_config()
    per_epoch = body_part_hico_det.IMAGES / config.batch_size
    config.model.update(verbs=dict(source="decoder", layers=6), interactiveness="none", matching=dict(verb=1.0))
    config.optimizer.schedule.step_at = (int(per_epoch * DROP),)
    config.train.update(num_steps=int(per_epoch * EPOCHS), best_metric="default/full", init_from=(dict(path=stage1),))
    config.evaluation.metrics = ("hoi",)
    return config
