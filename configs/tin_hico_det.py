"""TIN on HICO-DET as in the paper: frozen ResNet-50, SGD 1e-4, 25 epochs, LIS and NIS at 0.1.

Build:   python -m data_prep.build hico_det --images hico_20160224_det/images \\
             --annotations train=trainval_hico.json test=test_hico.json \\
             --detections train=Trainval_Neg_HICO_with_pose.pkl \\
             test=Test_Faster_RCNN_R-50-PFN_2x_HICO_DET_with_pose.pkl \\
             --poses train=Trainval_GT_HICO_with_pose.pkl train=Trainval_Neg_HICO_with_pose.pkl \\
             test=Test_Faster_RCNN_R-50-PFN_2x_HICO_DET_with_pose.pkl
         The pickles are linked from the repository of TIN's authors: detections of iCAN's Faster R-CNN, and poses of
         AlphaPose. Other boxes and poses can be used as well: see docs/tin.md.
Start:   python -m hoi_jax.systems.tin.convert resnet50.pth resnet50.npz
Run:     python train.py --config configs/tin_hico_det.py --workdir runs/tin_hico --config.train.init_from=resnet50.npz
         Options after a colon (mode=c, p_streams=human, ...): see `tin_modes.py`; transfer is from V-COCO.
Expect:  the paper's Default mAP is 17.03 Full / 13.42 Rare / 18.11 Non-Rare; ours: not yet measured.
"""

from configs import common, tin_modes

IMAGES = common.TRAIN_IMAGES["hico_det"]
EPOCHS = 25
SIZES = dict(image_hw=(640, 640), buckets=((480, 640), (640, 480), (640, 640)))
# The paper has one image per update, for which learning rate and steps are given.
OPTIMIZER = dict(
    name="momentum", learning_rate=1e-4, momentum=0.9, weight_decay=1e-4, clip="leaf", clip_norm=1.0, base_batch_size=1
)


def get_config(options=""):
    config = common.base(system="tin", batch_size=8)
    # iCAN merges rows of several HOI classes if their boxes overlap by more than 0.25.
    config.dataset = dict(name="hico_det", vocabulary="hico_det", merge_pairs=0.25)
    # Images are not resized; the longest side in both datasets is 640.
    config.sizes = dict(**SIZES, instances=512, detections=64, pairs=256)
    config.model = dict()
    config.optimizer = OPTIMIZER
    config.train = dict(
        seed=0, num_steps=IMAGES * EPOCHS, log_every=50, evaluate_every=20000, checkpoint_every=2000,
        best_metric="default/full",
    )  # fmt: skip
    config.evaluation = dict(batch_size=8, metrics=("hoi", "nis"))
    return tin_modes.apply(
        config,
        tin_modes.parse(options),
        view="interactive_coco",
        own=("hico_det", "hico_det"),
        other=("vcoco", "vcoco"),
        epoch=IMAGES,
    )
