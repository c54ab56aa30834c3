"""Body-part interactiveness on HICO-DET, stage 1, as the authors' released code has it; takes their weights.

Build:   as `body_part_hico_det.py` has it: with detections and poses
Start:   python -m hoi_jax.systems.body_part.convert detr-r50-e632da11.pth detr.npz --detr-queries 64
Run:     python train.py --config configs/body_part_hico_det_release.py \\
             --workdir runs/bp1r --config.train.init_from=detr.npz
Expect:  interactiveness AP 38.74 in the paper, with weights that are not public; ours: not yet measured.

Each line below is one difference from the paper, with its number in the list of differences of the specification.
"""

from configs import body_part_hico_det

EPOCHS = 100


def get_config():
    config = body_part_hico_det.get_config()
    config.model.parts.update(
        part_filter="per_query",  # 1: the three best parts of every query
        merge_parts="all",  # 2: all six parts enter Eq. 7
        part_query="affine",  # 3: a scale and a shift per channel
        other_humans="xor",  # 4
        layer3_mask="same",  # 5
        cell_rule="floor",  # 6
        pose_failure="skip",  # 7
    )
    config.model.backbone = dict(mask_padding=False)  # padding leaks into cells at its border
    config.pipeline.sparsity = "replace"  # 11, as meant: the released code mixes up the numbers of its lists
    config.train.num_steps = body_part_hico_det.IMAGES * EPOCHS // config.batch_size  # 10
    return config
