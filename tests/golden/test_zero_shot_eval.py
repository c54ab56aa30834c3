"""Zero-shot means of the simulated HICO-DET detections equal the reference summary."""

import numpy as np
import pytest

from hoi_jax import io
from hoi_jax.evaluation.metrics.hico_det import zero_shot_means
from hoi_jax.vocab.datasets import HICO, VCOCO

NAMES = {"rf_uc": "rf_uc", "nf_uc": "nf_uc", "uo": "uo", "uv": "uv", "ua_consnet": "ua"}


def test_means_of_the_reference_aps_equal_the_summary(golden_dir):
    ap = io.read_npz(golden_dir / "hico_eval_results.npz")["official_default/ap"]
    summary = io.read_json(golden_dir / "hico_eval_summary.json")["official_default"]
    known = [name for name in NAMES if name in summary]
    assert known, "the summary holds no zero-shot split"
    means = zero_shot_means(ap, HICO)
    for name in known:
        for part in ("unseen", "seen", "full"):
            assert means[f"zero_shot/{NAMES[name]}/{part}"] == pytest.approx(summary[name][part], abs=1e-12)


def test_other_vocabularies_have_no_zero_shot_splits():
    assert zero_shot_means(np.zeros(29), VCOCO) == {}
