"""Files with 2D boxes: KITTI folders and COCO files, with black images."""

import json

import cv2
import numpy as np

CLASSES = ("Car", "Pedestrian", "Cyclist")
WIDTH, HEIGHT = 160, 96
P = np.array([[100.0, 0, 80, 0], [0, 100, 48, 0], [0, 0, 1, 0]])
NAMES = {1: "person", 2: "bicycle", 3: "car", 4: "motorcycle", 8: "truck", 62: "chair"}


def image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.zeros((HEIGHT, WIDTH, 3), np.uint8))


def line(name, *box, geometry="-1 -1 -1 -1000 -1000 -1000 -10"):
    return f"{name} -1 -1 -10 {' '.join(map(str, box))} {geometry}\n"


def kitti(root, labels):
    """A KITTI folder with these label files by name, and an image for each."""
    (root / "label_2").mkdir(parents=True)
    for name, text in labels.items():
        image(root / "image_2" / f"{name}.png")
        (root / "label_2" / f"{name}.txt").write_text(text)
    return root


def coco_file(path, *annotations, images=("a.jpg",), **changes):
    """A COCO file; annotations: (category_id, x, y, width, height) of the first image, or dicts.

    The images are not written.
    """
    entries = [{"id": i, "file_name": name} for i, name in enumerate(images)]
    found = [
        item
        if isinstance(item, dict)
        else {"id": 10 + i, "image_id": 0, "category_id": item[0], "bbox": list(item[1:])}
        for i, item in enumerate(annotations)
    ]
    names = [{"id": key, "name": name} for key, name in NAMES.items()]
    content = {"images": entries, "annotations": found, "categories": names} | changes
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def street(tmp_path, *annotations, **options):
    """A COCO file with its images beside it."""
    for name in options.get("images", ("a.jpg",)):
        image(tmp_path / name)
    return coco_file(tmp_path / "street.json", *annotations, **options)


def seen(frames, index=0):
    return [(item.class_name, item.box2d) for item in frames[index].objects]
