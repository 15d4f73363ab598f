"""Adapt the embedded weights to another camera, from its bag alone and with 2D boxes.

    python benchmarks/experiments/adapt.py --data data/town

The images of the new camera differ from all training images: a longer lens, almost no colour,
darkness, fog and noise. `km3d adapt` gets the labelled frames of the old cameras. Of the new
camera it first gets the bag, then the images that `km3d extract` wrote, with 2D boxes of the
silhouettes.
Prints the figures of all weights on other labelled frames of the new camera.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from silhouette import Outline, outlines
from std_msgs.msg import Header
from tqdm import tqdm
from train import RESULTS

from km3d_ros.bag import BagWriter
from km3d_ros.data.kitti import KittiDataset
from km3d_ros.data.kitti_labels import KittiObject, write_objects
from km3d_ros.demo.drive import START, camera_info
from km3d_ros.evaluation.validation import LEAST_SCORE, validate
from km3d_ros.inference.detector import Detector
from km3d_ros.node.messages import image_message
from km3d_ros.town import TownFrame, render, sample_scene
from km3d_ros.town.dataset import prepare, write_frame
from km3d_ros.town.render import SIZE

FOCAL = 1.2
IMAGES, BAG_SEED = 400, 21
HELD_OUT, HELD_OUT_SEED = 300, 22


def main() -> None:
    """Record the bag, adapt, and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="labelled frames, KITTI format")
    parser.add_argument("--work", type=Path, default=Path("out/adapt"), help="folder for the rest")
    parser.add_argument("rest", nargs="*", help="options of km3d adapt, after --")
    args = parser.parse_args()
    bag, street, held_out = (args.work / n for n in ("new_camera.mcap", "street", "held_out"))
    record(bag)
    if not street.exists():
        km3d("extract", bag, "--out", street)
    write_boxes(street / "label_2")
    label(held_out)
    weights: dict[str, Path | None] = {"embedded": None}
    for name, source in (("unlabelled", bag), ("boxes", street)):
        weights[name] = args.work / f"{name}.safetensors"
        run = ("--run", args.work / name, "--out", weights[name])
        km3d("adapt", "--data", args.data, f"--{name}", source, *run, *args.rest)
    compared = {
        name: validate(
            Detector.from_checkpoint(path, score_threshold=LEAST_SCORE), KittiDataset(held_out)
        )
        for name, path in weights.items()
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "adapt.json").write_text(json.dumps(compared, indent=1) + "\n")
    for name, figures in compared.items():
        print(name, figures["ap_r40"]["Car"], figures["median_relative_depth_error"])


def km3d(*arguments: str | Path) -> None:
    """Run a verb of the command line."""
    subprocess.run([sys.executable, "-m", "km3d_ros.cli", *map(str, arguments)], check=True)


def write_boxes(folder: Path) -> None:
    """Write the 2D boxes of the bag's images as a detector would: silhouettes, no 3D columns."""
    folder.mkdir(exist_ok=True)
    for index in range(IMAGES):
        known = list(outlines(sample_scene(BAG_SEED, index), FOCAL))
        items = [in_image(item, known) for item in scene(BAG_SEED, index).objects]
        write_objects(folder / f"{index:06d}.txt", items)


def in_image(item: KittiObject, known: list[Outline]) -> KittiObject:
    """An object without its 3D box, and with the box of its silhouette where that is known."""

    def box(points: np.ndarray) -> np.ndarray:
        return np.clip((points.min(0), points.max(0)), 0, np.array(SIZE) - 1.0).ravel()

    side = item.box2d
    for seen in known:
        if seen.class_name == item.class_name and np.allclose(box(seen.cuboid), side, atol=0.5):
            side = tuple(box(seen.painted).tolist())
            break
    return KittiObject.of_box2d(item.class_name, side)


def strange(frame: TownFrame, seed: int) -> np.ndarray:
    """The picture of the new camera: nearly grey, dark, foggy and noisy; (H, W, 3) uint8."""
    rng = np.random.default_rng(seed)
    grey = cv2.cvtColor(frame.image, cv2.COLOR_BGR2GRAY)[..., None].astype(np.float32)
    picture = 0.2 * frame.image + 0.8 * grey
    picture = 60 + 0.45 * picture
    picture = cv2.GaussianBlur(picture, (5, 5), 1.0) + rng.normal(0, 8, picture.shape)
    return np.clip(picture, 0, 255).astype(np.uint8)


def scene(seed: int, index: int) -> TownFrame:
    """One still of the new camera's lens."""
    return render(sample_scene(seed, index), focal=FOCAL)


def record(path: Path) -> None:
    """Write the bag of the new camera: images and CameraInfo, ten a second."""
    if path.exists():
        return
    with BagWriter(path) as writer:
        for index in tqdm(range(IMAGES), desc="Recording", unit="frame", disable=None):
            frame = scene(BAG_SEED, index)
            stamp = START + index * 10**8
            header = Header(frame_id="camera")
            header.stamp.sec, header.stamp.nanosec = divmod(stamp, 10**9)
            height, width = frame.image.shape[:2]
            info = camera_info(header, frame.projection, width, height)
            writer.write("/camera_info", info, stamp)
            writer.write("/image_rect", image_message(strange(frame, index), header), stamp)


def label(folder: Path) -> None:
    """Write the held-out frames of the new camera."""
    prepare(folder)
    for index in tqdm(range(HELD_OUT), desc="Labelling", unit="frame", disable=None):
        name = f"{index:06d}"
        if not (folder / "training" / "image_2" / f"{name}.jpg").exists():
            frame = scene(HELD_OUT_SEED, index)
            write_frame(folder, name, replace(frame, image=strange(frame, IMAGES + index)))


if __name__ == "__main__":
    main()
