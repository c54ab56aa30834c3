"""Body-part interactiveness on HICO-DET, stage 1, as in the authors' released code; fits their weights.

Build:   as for `body_part_hico_det.py`, with detections and poses
Start:   python -m hoi_jax.systems.body_part.convert detr-r50-e632da11.pth detr.npz --detr-queries 64
Run:     python train.py --config configs/body_part_hico_det_release.py \\
             --workdir runs/bp1r --config.train.init_from=detr.npz
Expect:  interactiveness AP 38.74 in the paper, with weights that are not public; ours: not yet measured.

Each value below is one difference from the paper.
"""

from configs import body_part_hico_det

EPOCHS = 100


def get_config():
    config = body_part_hico_det.get_config()
    config.model.parts.update(
        part_filter="per_query",  # the three best parts of every query
        merge_parts="all",  # all six parts are summed in Eq. 7
        part_query="affine",  # a scale and a shift per channel
        other_humans="xor",
        layer3_mask="same",
        cell_rule="floor",
        pose_failure="skip",
    )
    config.model.backbone = dict(mask_padding=False)  # padding affects cells at its border
    config.pipeline.sparsity = "replace"  # as intended; the released code confuses the indices of its lists
    config.train.num_steps = body_part_hico_det.IMAGES * EPOCHS // config.batch_size
    return config
