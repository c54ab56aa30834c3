"""Body-part interactiveness on HICO-DET, stage 2: detector and verbs, from the weights of stage 1.

Build:   as `body_part_hico_det.py` has it (stage 1 looks at body parts, this network does not)
Run:     python train.py --config configs/body_part_hico_det_stage2.py:runs/bp1 --workdir runs/bp2
         (the part behind the colon is the workdir of stage 1)
Expect:  HOI mAP 34.09 before and 35.15 after suppression in the paper; ours: not yet measured.

Interactiveness comes from the network of stage 1: its stored predictions are joined to these
(`hoi_jax.evaluation.postprocess.transfer`). The paper gives 60 epochs;
 the learning rate and its drop at 40 are ours. It
follows QPIC, so that the assignment looks at verbs too, with QPIC's weight.
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
