"""The peer of `pipeline.py`: a PyTorch DataLoader with DETR's transforms on the same images and boxes.

    OTHER_ENV/bin/python pipeline_peer.py FOLDER detr|square CORES IMAGES BATCH

Transforms are those of DETR's and QPIC's code (their datasets/transforms.py): resizing by Pillow, crops of 384 to 600
pixels after a first resize, also of boxes, then ToTensor and Normalize, and batches padded to their largest image. They
are reimplemented here, since neither project is a package.
"""

import json
import os
import random
import resource
import sys
import time

import numpy as np
import torch
from PIL import Image

SCALES = list(range(480, 801, 32))
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def to_tensor(image):
    """Tensor of a Pillow image as from torchvision's to_tensor and normalize, without torchvision."""
    pixels = torch.from_numpy(np.array(image, copy=True)).permute(2, 0, 1).contiguous().float().div(255)
    return pixels.sub_(torch.tensor(MEAN).view(3, 1, 1)).div_(torch.tensor(STD).view(3, 1, 1))


def short_side(image, boxes, size, limit=None):
    """DETR's resize to short side `size`, with the long side at most `limit`."""
    width, height = image.size
    low, high = min(width, height), max(width, height)
    if limit is not None and high / low * size > limit:
        size = int(round(limit * low / high))
    hw = (size, int(size * width / height)) if height <= width else (int(size * height / width), size)
    return to_size(image, boxes, hw)


def to_size(image, boxes, hw):
    scaled = image.resize(hw[::-1], Image.Resampling.BILINEAR)
    ratio = torch.tensor([hw[1] / image.width, hw[0] / image.height] * 2)
    return scaled, boxes * ratio


def random_crop(image, boxes, low, high):
    width = random.randint(low, min(image.width, high))
    height = random.randint(low, min(image.height, high))
    top, left = random.randint(0, image.height - height), random.randint(0, image.width - width)
    limit = torch.tensor([width, height] * 2, dtype=torch.float32)
    moved = torch.minimum((boxes - torch.tensor([left, top] * 2)).clamp(min=0), limit)
    keep = (moved[:, 2:] > moved[:, :2]).all(1)
    return image.crop((left, top, left + width, top + height)), moved[keep]


class Images(torch.utils.data.Dataset):
    def __init__(self, listed, name, count):
        self.listed, self.name, self.count = listed, name, count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        path, boxes = self.listed[index % len(self.listed)]
        image = Image.open(path).convert("RGB")
        boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
        if random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            boxes = boxes[:, [2, 1, 0, 3]] * torch.tensor([-1, 1, -1, 1]) + torch.tensor([image.width, 0] * 2)
        if self.name == "square":
            ratio = 672 / max(image.width, image.height)
            image, boxes = to_size(image, boxes, (round(image.height * ratio), round(image.width * ratio)))
        else:
            if random.random() < 0.5:
                image, boxes = short_side(image, boxes, random.choice([400, 500, 600]))
                image, boxes = random_crop(image, boxes, 384, 600)
            image, boxes = short_side(image, boxes, random.choice(SCALES), 1333)
        size = torch.tensor([image.width, image.height] * 2)
        return to_tensor(image), boxes / size


def collate(examples):
    """Batches padded to their largest image, with a mask of the padding, as DETR's NestedTensor."""
    height, width = (max(image.shape[axis] for image, _ in examples) for axis in (1, 2))
    padded = torch.zeros(len(examples), 3, height, width)
    mask = torch.ones(len(examples), height, width, dtype=torch.bool)
    for row, (image, _) in enumerate(examples):
        padded[row, :, : image.shape[1], : image.shape[2]].copy_(image)
        mask[row, : image.shape[1], : image.shape[2]] = False
    return padded, mask, [boxes for _, boxes in examples]


def cpu():
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(use.ru_utime + use.ru_stime for use in map(resource.getrusage, kinds))


def main():
    folder, name, cores, count, batch = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    torch.set_num_threads(1)
    random.seed(0)
    with open(os.path.join(folder, "peer.json")) as stream:
        listed = json.load(stream)
    start = time.process_time()
    for path, _ in listed:
        Image.open(path).convert("RGB")
    jpeg_ms = 1e3 * (time.process_time() - start) / len(listed)

    def epoch(images):
        data = Images(listed, name, images)
        loader = torch.utils.data.DataLoader(data, batch, shuffle=True, num_workers=cores, collate_fn=collate)
        real, first = 0.0, None
        for _, mask, _ in loader:
            first = first or time.perf_counter()
            real += float((~mask).sum())
        return real, time.perf_counter() - first

    epoch(2 * batch)
    before = cpu()
    real, seconds = epoch(count)
    print(
        json.dumps(
            {
                "images_per_second": (count - batch) / seconds,
                "cpu_ms_per_image": 1e3 * (cpu() - before) / count,
                "megapixels_per_image": real / count / 1e6,
                "jpeg_ms": jpeg_ms,
                "torch": torch.__version__,
            }
        )
    )


if __name__ == "__main__":
    main()
