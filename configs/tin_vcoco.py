"""TIN on V-COCO as in the paper: frozen ResNet-50, SGD 1e-4, 25 epochs, LIS and NIS at 0.1.

Build:   python -m data_prep.build vcoco --images coco/images --coco-instances instances_vcoco_all_2014.json \\
             --annotations trainval=vcoco_trainval.json test=vcoco_test.json \\
             --detections Trainval_Neg_VCOCO_with_pose.pkl Test_Faster_RCNN_R-50-PFN_2x_VCOCO_with_pose.pkl \\
             --poses Trainval_GT_VCOCO_with_pose.pkl Trainval_Neg_VCOCO_with_pose.pkl \\
             Test_Faster_RCNN_R-50-PFN_2x_VCOCO_with_pose.pkl
         The pickles are linked from the repository of TIN's authors: detections of iCAN's Faster R-CNN, and poses of
         AlphaPose. Other boxes and poses can be used as well: see docs/tin.md.
Start:   python -m hoi_jax.systems.tin.convert resnet50.pth resnet50.npz
Run:     python train.py --config configs/tin_vcoco.py --workdir runs/tin_vcoco --config.train.init_from=resnet50.npz
         Options after a colon (mode=c, p_streams=human, ...): see `tin_modes.py`; transfer is from HICO-DET.
Expect:  the paper's AP_role (scenario 1, 24 roles) is 47.8; ours: not yet measured.
"""

from configs import common, tin_hico_det, tin_modes

IMAGES = common.TRAIN_IMAGES["vcoco"]
EPOCHS = 25


def get_config(options=""):
    config = common.base(system="tin", batch_size=8)
    config.dataset = dict(name="vcoco", vocabulary="vcoco", train_split="trainval", eval_split="test")
    config.sizes = dict(**tin_hico_det.SIZES, instances=96, detections=64, pairs=96, persons=32)
    # The authors double the human stream's weight on V-COCO. The vocabulary has no counts, so classes are not weighted.
    config.model = dict(loss=dict(human=2.0))
    config.optimizer = tin_hico_det.OPTIMIZER
    config.train = dict(
        seed=0, num_steps=IMAGES * EPOCHS, log_every=50, evaluate_every=5000, checkpoint_every=1000,
        best_metric="role_s1/24",
    )  # fmt: skip
    config.evaluation = dict(batch_size=8, metrics=("actions", "nis"))
    arg = tin_modes.parse(options)
    tin_modes.apply(
        config,
        arg,
        view="interactive_coco",
        own=("vcoco", "vcoco"),
        other=("hico_det", "hico_det"),
        epoch=IMAGES,
    )
    if arg.mode == "p":  # HICO-DET has longer tables with rows to be merged.
        config.sizes = dict(**tin_hico_det.SIZES, instances=512, detections=64, pairs=256, persons=32)
        config.dataset.merge_pairs = 0.25 if arg.on == "other" else None
        config.dataset.train_split = "train" if arg.on == "other" else "trainval"
    return config
