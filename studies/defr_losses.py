"""DEFR's losses (LSE-Sign, BCE, focal) and classifiers (language, random) on the scenes, from image-level labels.

python -m studies.run defr_losses
python -m studies.run defr_detection      # then: HOI detection from the same weights, mask-1 against ave-pool
"""

CLAIM = (
    "Image-level mAP, and Few@1/5/10: LSE-Sign above BCE and focal (Tables 6 and 7); a classifier that starts from "
    "sentence embeddings above a random one, most for classes with few images (Tables 4 and 5)."
)
METRICS = ("image/default", "image/few_1", "image/few_5", "image/few_10", "default/full", "default/rare")
STEPS = 800
"""Steps, instead of 2,000 in the config: sixteen epochs, four minutes on two idle cores."""
RUNS = {
    f"{loss}_{init}_seed{seed}": (
        f"configs/defr_hoi_scenes.py:loss={loss},init={init}",
        {"train.seed": seed, "train.num_steps": STEPS},
    )
    for seed in range(3)
    for loss, init in (("lse_sign", "random"), ("lse_sign", "language"), ("bce", "random"), ("focal", "random"))
}
