"""Body-part interactiveness on the hoi_scenes dataset, stage 2: detector and verbs, from the weights of stage 1.

Run:     python train.py --config configs/body_part_hoi_scenes_stage2.py:runs/body1 --workdir runs/body2
         (after the colon: the workdir of stage 1)
Expect:  not yet measured; class frequency 9.3.
"""

from configs import body_part_hoi_scenes

STEPS = 1500


def get_config(stage1="runs/body1"):
    config = body_part_hoi_scenes.get_config(f"start={stage1}")
    config.model.verbs.source = "decoder"
    config.model.interactiveness = "none"
    config.optimizer.learning_rate = 5e-4
    config.train.update(num_steps=STEPS, best_metric="default/full")
    config.evaluation.metrics = ("hoi",)
    return config
