"""What the papers (and the authors' released code) say of each training, written down here and nowhere computed.

A training is images seen and learning rates per image: a run with another batch must show the same images at the same
rates divided by the batch (linear scaling).
"""

import dataclasses

HICO_DET, VCOCO, HICO, MPII, HOI_W, PIC = 37_633, 5_400, 38_116, 8_218, 29_842, 12_654
"""Images of the training splits that the papers count epochs in."""


@dataclasses.dataclass(frozen=True)
class Paper:
    """One training.

    Attributes:
      rate: learning rate of the largest group. batch: images per update that it belongs to.
      images: seen in all. epoch: of one epoch, for lengths in epochs.
      falls: {images seen: factor of the rate from there on}, where it falls in steps.
      others: learning rates of other groups, by a parameter of theirs.
      name, decay: of the optimiser.
    """

    rate: float
    batch: int
    images: float
    falls: dict[float, float] = dataclasses.field(default_factory=dict)
    name: str = "momentum"
    decay: float = 1e-4
    others: dict[str, float] = dataclasses.field(default_factory=dict)
    epoch: int = 1


def hico(rate, batch, epochs=10, epoch=HICO):
    """AdamW without decay, cosine restarts every five epochs (Jin et al. 2021, 4.1; hts' read-me for B/16)."""
    halves = {2.5 * epoch: 0.5, 5 * epoch: 1.0, 7.5 * epoch: 0.5}
    return Paper(rate, batch, epochs * epoch, halves, "adamw", 0.0, epoch=epoch)


def detr(rate, images, falls, backbone=1e-5):
    """AdamW, batch 16, 0.1 clipping: DETR, QPIC, CDN, body-part (sections on training of their papers and read-mes)."""
    return Paper(rate, 16, images, falls, "adamw", 1e-4, {"backbone/stage3_block0/conv1/kernel": backbone})


PAPERS = {
    # Li et al. 2019, 4.2: SGD 1e-4, 25 epochs, one image per update; releases: their train scripts.
    "tin_hico_det.py": Paper(1e-4, 1, 25 * HICO_DET),
    "tin_vcoco.py": Paper(1e-4, 1, 25 * VCOCO),
    "tin_hico_det_release.py": Paper(1e-3, 1, 2_000_000, decay=0.0),
    "tin_vcoco_release.py": Paper(2e-6, 1, 20_000, {20_000: 0.96}, decay=0.0),
    "tin_hico_det_ican.py": Paper(1e-2, 1, 1_800_000, {100_000: 0.96, 200_000: 0.96**2}, decay=0.0),
    "tin_vcoco_ican.py": Paper(1e-3, 1, 300_000, {20_000: 0.96, 40_000: 0.96**2}, decay=0.0),
    # Wu et al. 2022, 4.1; read-mes of QPIC and CDN.
    "body_part_hico_det.py": detr(1e-4, 90 * HICO_DET, {60 * HICO_DET: 0.1}),
    "body_part_vcoco.py": detr(1e-4, 120 * VCOCO, {60 * VCOCO: 0.1}),
    "body_part_hico_det_release.py": detr(1e-4, 100 * HICO_DET, {60 * HICO_DET: 0.1}),
    "body_part_hico_det_qpic.py": detr(1e-4, 150 * HICO_DET, {100 * HICO_DET: 0.1}),
    "body_part_hico_det_cdn.py": detr(1e-4, 90 * HICO_DET, {60 * HICO_DET: 0.1}),
    "body_part_hico_det_cdn_stage2.py": Paper(1e-5, 16, 10 * HICO_DET, {}, "adamw", 1e-4),
    "body_part_hico_det_stage2.py": detr(1e-4, 60 * HICO_DET, {40 * HICO_DET: 0.1}),
    "body_part_vcoco_stage2.py": detr(1e-4, 60 * VCOCO, {40 * VCOCO: 0.1}),
    "body_part_vcoco_qpic.py": detr(1e-4, 150 * VCOCO, {100 * VCOCO: 0.1}),
    "body_part_vcoco_cdn.py": detr(1e-4, 90 * VCOCO, {60 * VCOCO: 0.1}),
    "body_part_vcoco_cdn_stage2.py": Paper(1e-5, 16, 10 * VCOCO, {}, "adamw", 1e-4),
    # Chafik et al. 2020, 4.2: SGD 0.016, batch 10, 30,000 updates, a tenth after 25,000.
    "calipso_vcoco.py": Paper(0.016, 10, 300_000, {250_000: 0.1}),
    "calipso_hico_det.py": Paper(0.016, 10, 300_000, {250_000: 0.1}),
    # Zhou et al. 2020, 4.2: SGD 0.02; detector batch 16, 12 epochs; relations batch 8, 7 epochs.
    "cascade_vcoco.py:phase=detector": Paper(0.02, 16, 12 * VCOCO, {8 * VCOCO: 0.1, 11 * VCOCO: 0.01}),
    "cascade_vcoco.py:phase=joint": Paper(0.02, 8, 7 * VCOCO, {3 * VCOCO: 0.1, 5 * VCOCO: 0.01}),
    "cascade_pic.py:phase=detector": Paper(0.02, 16, 12 * PIC, {8 * PIC: 0.1, 11 * PIC: 0.01}),
    "cascade_pic.py:phase=joint": Paper(0.02, 8, 7 * PIC, {3 * PIC: 0.1, 5 * PIC: 0.01}),
    "cascade_hoi_w.py:phase=detector": Paper(0.02, 16, 12 * 19_843, {8 * 19_843: 0.1, 11 * 19_843: 0.01}),
    "cascade_hoi_w.py:phase=joint": Paper(0.02, 8, 7 * 19_843, {3 * 19_843: 0.1, 5 * 19_843: 0.01}),
    "defr_hico.py": hico(1.5e-5, 128),
    "defr_hico.py:backbone=b32,loss=bce": hico(1.5e-5, 128, epochs=20),
    "defr_hico_det.py": hico(1.5e-5, 128, epoch=HICO_DET),
    "defr_hico_release.py": hico(5e-6, 32),
    "defr_mpii.py": hico(1.5e-5, 128, epoch=MPII),
    # The authors' code: 7 epochs of relations on a frozen detector, as phase 2 of the paper.
    "cascade_hoi_w_release.py:phase=relations": Paper(0.02, 8, 7 * HOI_W, {3 * HOI_W: 0.1, 5 * HOI_W: 0.01}),
    "cascade_pic_release.py:phase=relations": Paper(0.02, 8, 7 * PIC, {3 * PIC: 0.1, 5 * PIC: 0.01}),
}
"""By config, with its phase where it has several."""
