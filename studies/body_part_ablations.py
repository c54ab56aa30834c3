"""Table 5 of the body-part paper on the scenes: interactiveness with one component removed at a time.

python -m studies.run body_part_ablations

All runs start from the detector of the exported stage 1 (backbone, encoder, box decoder and its heads) with a new
interactiveness decoder, and train all parameters for 600 updates; a detector from scratch would take half an hour per
run. The three seeds change the new decoder, the order of images and dropout, but not the detector.
"""

from studies.runs import Run

CLAIM = (
    "The whole method is above each variant in interactiveness AP (HICO-DET: whole 38.74, without body parts 36.46, "
    "without saliency map 37.43, intuitive scheme 37.91, without progressive masks 38.06, without sparsity adaptive "
    "sampling 38.29, without one-time passing 38.51)."
)
METRICS = (
    "interactiveness_complete/ap", "interactiveness_complete/max_recall", "subset/sparse/interactiveness_complete/ap",
    "subset/crowded/interactiveness_complete/ap",
)  # fmt: skip
NAMES = (
    "none", "without_parts", "without_saliency", "intuitive", "without_progressive", "without_sparsity",
    "without_one_pass",
)  # fmt: skip
SEEDS = (0, 1, 2)
DETECTOR = "checkpoints/body_part_hoi_scenes"
CHANGES = {"train.num_steps": 600, "train.evaluate_every": 600, "optimizer.learning_rate": 5e-4}
RUNS = {
    f"{'whole' if name == 'none' else name}_seed{seed}": Run(
        f"configs/body_part_hoi_scenes.py:ablation={name},detector={DETECTOR}", {**CHANGES, "train.seed": seed}
    )
    for seed in SEEDS
    for name in NAMES
}
