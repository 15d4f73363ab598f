"""`km3d detect`: boxes for images or a film."""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from km3d_ros.cli import _detector, _options
from km3d_ros.cli._types import UsageError, number
from km3d_ros.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np

    from km3d_ros.data.footage import Film, Images
    from km3d_ros.geometry.camera import CameraModel
    from km3d_ros.inference.detector import Detector

    CameraOf = Callable[[str], CameraModel]
    Draw = Callable[[str, np.ndarray], None]

_FOCAL = number(
    10,
    1e6,
    "a number of pixels from 10 up (focal length in mm / width of the sensor in mm * width of the "
    "image in pixels)",
)
_OTHER_CAMERA = re.compile(r"image_0?([013])")
"""Folders of KITTI whose images belong to another projection than P2."""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Declare the verb."""
    parser = subparsers.add_parser(
        "detect",
        help="detect objects in images or a film",
        description="Detect objects in an image, in every image of a folder, or in a film. "
        "Writes one KITTI result file per image, detections.jsonl with all numbers in full and, "
        "with --draw, pictures or a film. docs/results.md describes the files. Images that "
        "cannot be read are listed at the end; the exit code is 1 then.",
    )
    add = parser.add_argument
    add(
        "--images",
        type=Path,
        required=True,
        metavar="PATH",
        help="an image (PNG, JPEG), a folder of images, or a film (mp4, avi, mov, mkv, ...)",
    )
    camera = parser.add_mutually_exclusive_group(required=True)
    camera.add_argument(
        "--calib",
        type=Path,
        metavar="PATH",
        help="KITTI calibration of rectified images: one file (also calib_cam_to_cam.txt), or a "
        "folder with one per image, named like it; or the YAML of camera_calibration, of raw "
        "images with lens distortion",
    )
    camera.add_argument(
        "--focal",
        type=_FOCAL,
        metavar="PX",
        help="focal length in pixels instead of a calibration, for a first look: no lens "
        "distortion, principal point in the middle of the image",
    )
    add(
        "--projection",
        choices=("P0", "P1", "P2", "P3"),
        help="which projection of a KITTI calibration belongs to the images (default: P2)",
    )
    _options.add_mount(parser, bag=False)
    add("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    add(
        "--draw",
        action="store_true",
        help="write pictures with boxes to DIR/annotated: PNG files, or a film",
    )
    _detector.add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Detect in every image, in the order of their names; what is finished stays on disk."""
    from km3d_ros.data.box_labels import counted
    from km3d_ros.data.calibration import is_ros_calibration
    from km3d_ros.data.footage import Film, open_footage

    if args.projection and (args.focal or is_ros_calibration(args.calib)):
        raise UsageError("--projection needs a KITTI calibration (--calib)")
    footage = open_footage(args.images)
    find = _film_camera if isinstance(footage, Film) else _image_cameras
    camera_of = find(args, footage)
    images, counts = _detect(args, footage, camera_of, _detector.load(args))
    found = ", ".join(f"{name} {count}" for name, count in counts.most_common())
    print(
        f"{args.out}: {counted(images, 'image')}, {counted(counts.total(), 'object')}"
        f"{f' ({found})' if found else ''}; {_camera_name(args)}"
    )
    for failure in footage.failures:
        print(f"km3d detect: {failure}", file=sys.stderr)
    return 1 if footage.failures else 0


def _detect(
    args: argparse.Namespace, footage: Images | Film, camera_of: CameraOf, detector: Detector
) -> tuple[int, Counter[str]]:
    """Write all results; returns the numbers of images and, by class, of objects."""
    from tqdm import tqdm

    from km3d_ros.data.kitti_labels import write_objects
    from km3d_ros.drawing.on_image import draw_detections
    from km3d_ros.inference.formats import to_json, to_kitti, to_records

    classes = detector.spec.classes
    images, counts = 0, Counter()
    pictures = iter(footage)
    # No folder is made before there is something to write into it.
    first = next(pictures, None)
    if first is None:
        return images, counts
    args.out.mkdir(parents=True, exist_ok=True)
    with (
        (args.out / "detections.jsonl").open("w", buffering=1, encoding="utf-8") as lines,
        _drawing(args, footage) as draw,
    ):
        pictures = chain([first], pictures)
        for name, stem, image in tqdm(pictures, total=len(footage), unit="image", disable=None):
            camera = camera_of(stem)
            detections = detector(image, camera)
            # KITTI's boxes have no tilt: their files are in the level frame.
            level = replace(detections, center=detections.center @ camera.level.T)
            objects = to_kitti(level, classes)
            write_objects(args.out / f"{stem}.txt", objects)
            found = to_records(detections, classes)
            lines.write(to_json({"image": name, "detections": found}) + "\n")
            images += 1
            counts.update(item.class_name for item in objects)
            if draw:
                draw(stem, draw_detections(image, detections, camera, classes))
    return images, counts


@contextmanager
def _drawing(args: argparse.Namespace, footage: Images | Film) -> Iterator[Draw | None]:
    """A function that writes a picture under a name; None without --draw."""
    import cv2

    from km3d_ros.data.footage import Film
    from km3d_ros.drawing.film import FilmWriter

    if not args.draw:
        yield None
        return
    folder = args.out / "annotated"
    folder.mkdir(exist_ok=True)
    if isinstance(footage, Film):
        with FilmWriter(folder / f"{footage.path.stem}.mp4", footage.rate) as film:
            yield lambda _, picture: film.write(picture)
    else:
        yield lambda stem, picture: (folder / f"{stem}.png").write_bytes(
            cv2.imencode(".png", picture)[1]
        )


def _camera_name(args: argparse.Namespace) -> str:
    """The camera that was used, for the summary."""
    from km3d_ros.data.calibration import is_ros_calibration

    if args.focal:
        return f"camera guessed from a focal length of {args.focal:g} pixels"
    if is_ros_calibration(args.calib):
        return f"{args.calib.name} for raw images, lens included"
    return f"{args.projection or 'P2'} of {args.calib.name} for rectified images"


def _film_camera(args: argparse.Namespace, film: Film) -> CameraOf:
    """The camera of every picture of a film."""
    if args.calib and args.calib.is_dir():
        raise InputError(f"{args.calib}: a folder of calibrations, expected one file for a film")
    camera = _read_camera(args, args.calib, *film.size)
    return lambda _: camera


def _image_cameras(args: argparse.Namespace, images: Images) -> CameraOf:
    """The cameras of images by their names, all of them read before the first image."""
    from km3d_ros.data.image_file import check_one_size

    calib = args.calib
    if calib and not calib.exists():
        raise InputError(f"{calib}: no such file or folder")
    if calib and calib.is_file() and images.sizes:
        check_one_size(list(images.sizes))
    _warn_of_other_camera(args)
    cameras = {}
    for path, size in images.sizes.items():
        file = calib / f"{path.stem}.txt" if calib and calib.is_dir() else calib
        cameras[path.stem] = _read_camera(args, file, *size)
    return cameras.__getitem__


def _warn_of_other_camera(args: argparse.Namespace) -> None:
    from km3d_ros.data.calibration import is_ros_calibration

    if args.projection or args.focal or is_ros_calibration(args.calib):
        return
    folders = args.images.absolute().parts[-3:]
    others = [found[1] for folder in folders if (found := _OTHER_CAMERA.fullmatch(folder))]
    if others:
        print(
            f"km3d detect: {args.images}: P2 is used, but images of image_{others[-1]} belong to "
            f"P{others[-1]} (--projection P{others[-1]})",
            file=sys.stderr,
        )


def _read_camera(
    args: argparse.Namespace, file: Path | None, width: int, height: int
) -> CameraModel:
    """The camera of a file, or that of the focal length where there is none, as it is mounted."""
    from km3d_ros.data.calibration import read_camera
    from km3d_ros.geometry.camera import CameraModel

    level = _options.mounting_of(args).of("").level
    if file is None:
        x, y = (width - 1) / 2, (height - 1) / 2
        projection = [[args.focal, 0, x, 0], [0, args.focal, y, 0], [0, 0, 1, 0]]
        camera = CameraModel.from_projection(projection, width, height)
    else:
        camera = read_camera(file, width, height, projection=args.projection or "P2")
    return replace(camera, level=level)
