"""Timing of the authors' PyTorch model on random images: forward pass, training step and box masks, as JSON.

    OTHER_ENV/bin/python benchmarks/body_part_peer.py CHECKOUT --image-hw 800 1333 --batch 1 --repeats 3 --people 10

Run by `body_part_speed.py --peer`. CHECKOUT is a copy of the authors' repository (enlighten0707's
Body-Part-Map-for-Interactiveness), which the user has to provide together with torch and torchvision. Calls of .cuda()
are disabled; nothing else is changed. Settings are those of the authors' training configuration for HICO-DET.
"""

import argparse
import copy
import json
import sys
import time

import torch

ARGUMENTS = dict(
    backbone="resnet50", dilation=False, position_embedding="sine", enc_layers=6, dec_layers=6, dim_feedforward=2048,
    hidden_dim=256, dropout=0.1, nheads=8, num_queries=64, pre_norm=False, aux_loss=True, binary=True, cascaded=True,
    triple_cascaded=False, dec_layers_hum=3, dec_layers_box=6, dec_layers_verb=6, masks=False, hoi=True,
    num_obj_classes=80, num_verb_classes=117, subject_category_id=0, verb_loss_type="focal", binary_loss_type="bce",
    set_cost_class=1, set_cost_bbox=2.5, set_cost_giou=1, set_cost_obj_class=1, set_cost_verb_class=0,
    set_cost_binary=1, bbox_loss_coef=2.5, giou_loss_coef=1, obj_loss_coef=1, verb_loss_coef=1, eos_coef=0.1,
    bin_loss_coef=1, excl_loss_coef=1, dataset_file="hico", frozen_weights=None, device="cpu", lr_backbone=1e-5,
    losses=["obj_labels", "sub_boxes", "obj_boxes", "binary_labels", "binary_consistency"], alpha=0.5,
    obj_reweight=False, verb_reweight=False, use_static_weights=False, queue_size=4704, p_obj=0.7, p_verb=0.7,
    cascaded_matcher=False, ref=False, depth=False, depth_cat=100, spmap=False, root_hum=3, aux_outputs=False,
    extract=False, pnms=-1, use_hake=False, hard_mask=False, binary_mode=None,
)  # fmt: skip


def best_of(run, repeats: int) -> float:
    """Seconds of the fastest of `repeats` calls after an uncounted one."""
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout")
    parser.add_argument("--image-hw", type=int, nargs=2, required=True)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--eval-only", action="store_true")
    options = parser.parse_args()
    sys.path.insert(0, options.checkout)
    torch.Tensor.cuda = lambda self, *args, **kwargs: self
    torch.nn.Module.cuda = lambda self, *args, **kwargs: self
    torch.manual_seed(0)
    from models.detr import build
    from util.misc import NestedTensor

    model, criterion, _ = build(argparse.Namespace(**ARGUMENTS))
    (height, width), batch = options.image_hw, options.batch
    samples = NestedTensor(torch.randn(batch, 3, height, width), torch.zeros(batch, height, width, dtype=torch.bool))
    grid = height // 32 + 1, width // 32 + 1
    parts = NestedTensor(torch.rand(batch, 6, *grid) < 0.7, torch.zeros(batch, *grid, dtype=torch.bool))
    size = torch.tensor([[height, width]] * batch)
    boxes = torch.rand(batch, options.pairs, 4) * 0.3 + 0.3
    rows = torch.arange(options.pairs)
    targets = [
        {
            "obj_labels": rows, "obj_boxes": box, "sub_boxes": box.flip(0), "pair2obj": rows, "pair2sub": rows,
            "verb_labels": (torch.rand(options.pairs, 117) < 0.02).float(),
            "binary_labels": torch.ones(options.pairs, dtype=torch.long),
        }
        for box in boxes
    ]  # fmt: skip

    def forward():
        return model(samples, None, None, parts, size, None)

    model.eval()
    with torch.inference_mode():
        found = {"eval": best_of(forward, options.repeats)}
        query, mask = torch.rand(batch, 64, 4) * 0.3 + 0.3, torch.zeros(batch, -(-height // 32), -(-width // 32))

        def masks():
            # A copy, since the authors' function modifies its boxes.
            return [model.get_mask_from_query(query.clone(), size, mask.bool()) for _ in range(2)]

        found["box_masks"] = best_of(masks, options.repeats)
    if not options.eval_only:
        model.train()
        criterion.train()
        groups = [
            {"params": [p for n, p in model.named_parameters() if "backbone" not in n and p.requires_grad]},
            {"params": [p for n, p in model.named_parameters() if "backbone" in n and p.requires_grad], "lr": 1e-5},
        ]
        optimizer = torch.optim.AdamW(groups, lr=1e-4, weight_decay=1e-4)

        def step():
            terms = criterion(forward(), copy.deepcopy(targets))
            loss = sum(terms[k] * weight for k, weight in criterion.weight_dict.items() if k in terms)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            optimizer.step()

        found["train"] = best_of(step, options.repeats)
    found |= {"torch": torch.__version__, "threads": torch.get_num_threads()}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
