"""`km3d detect`: boxes for a folder of images."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from km3d_ros.cli import _detector
from km3d_ros.errors import InputError

if TYPE_CHECKING:
    from km3d_ros.geometry.camera import CameraModel


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Declare the verb."""
    parser = subparsers.add_parser(
        "detect",
        help="detect objects in a folder of images",
        description="Detect objects in every image of a folder. Writes one KITTI result file per "
        "image, detections.jsonl with all numbers in full and, with --draw, pictures.",
    )
    add = parser.add_argument
    add("--images", type=Path, required=True, metavar="DIR", help="folder of images")
    add(
        "--calib",
        type=Path,
        required=True,
        metavar="DIR_or_FILE",
        help="KITTI calibration (P2): one file, or a folder with one per image, named like it",
    )
    add("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    add("--draw", action="store_true", help="write annotated pictures to DIR/annotated")
    _detector.add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Detect in every image, in the order of their names; what is finished stays on disk."""
    import cv2
    from tqdm import tqdm

    from km3d_ros.data.image_file import check_one_size, read_image
    from km3d_ros.data.kitti import write_objects
    from km3d_ros.drawing.on_image import draw_detections
    from km3d_ros.inference.formats import to_kitti, to_records

    images = _list_images(args.images)
    if not args.calib.exists():
        raise InputError(f"{args.calib}: no such file or folder")
    if args.calib.is_file():
        check_one_size(images)
    detector = _detector.load(args)
    classes = detector.spec.classes
    pictures = args.out / "annotated"
    (pictures if args.draw else args.out).mkdir(parents=True, exist_ok=True)
    with (args.out / "detections.jsonl").open("w", buffering=1) as lines:
        for path in tqdm(images, unit="image", disable=None):
            image = read_image(path)
            camera = _read_camera(args.calib, path.stem, image.shape[1], image.shape[0])
            detections = detector(image, camera)
            write_objects(args.out / f"{path.stem}.txt", to_kitti(detections, classes))
            record = {"image": path.name, "detections": to_records(detections, classes)}
            lines.write(json.dumps(record) + "\n")
            if args.draw:
                picture = draw_detections(image, detections, camera, classes)
                cv2.imwrite(str(pictures / f"{path.stem}.png"), picture)
    return 0


def _list_images(folder: Path) -> list[Path]:
    from km3d_ros.data.kitti import list_images

    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    return list_images(folder)


def _read_camera(calib: Path, frame: str, width: int, height: int) -> CameraModel:
    """The camera of a frame from the calibration file, or from the one in the folder."""
    from km3d_ros.data.kitti import read_projection
    from km3d_ros.geometry.camera import CameraModel

    file = calib / f"{frame}.txt" if calib.is_dir() else calib
    return CameraModel.from_projection(read_projection(file), width, height)
