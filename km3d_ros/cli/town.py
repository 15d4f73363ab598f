"""`km3d town`: rendered street scenes in KITTI format."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from km3d_ros.cli._types import UsageError, number, sides, whole
from km3d_ros.errors import InputError

RECORD = "town.txt"
"""File beside the frames with the options that determine their content."""

MAX_TILT = 0.5
"""Radians. The pictures have nothing to show right above and below the camera."""

_LONGEST_RECORD = 1000


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        "town",
        help="render a data set or a drive of street scenes",
        description="Render street scenes with exact labels: OUT/training/{image_2,label_2,calib}"
        " and OUT/ImageSets/train.txt. Pictures are JPEG files of quality 95. Frames that OUT "
        "already has are kept, so that an interrupted run continues. OUT/town.txt stores the "
        "options; other options need another OUT. With --tilt or --lenses the calibrations are "
        "the YAML of camera_calibration instead; its rectification_matrix leads to the horizon, "
        "and the labels are in the level frame.",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--frames", type=whole(1), required=True, help="number of frames")
    parser.add_argument("--seed", type=whole(0), default=0, help="which scenes")
    parser.add_argument(
        "--drive", action="store_true", help="one drive at 10 frames per second, not stills"
    )
    parser.add_argument(
        "--focal",
        type=number(0.2, 5, "between 0.2 and 5 image widths"),
        help="focal length of all cameras in image widths (default: 0.5 to 1.1, a drive 0.75)",
    )
    parser.add_argument(
        "--tilt",
        type=number(0, MAX_TILT, f"between 0 and {MAX_TILT:g} radians"),
        default=0.0,
        metavar="RAD",
        help="cameras that do not look level: largest pitch in radians, up or down, up to 0.5; "
        "the largest roll is half of it",
    )
    parser.add_argument(
        "--lenses", action="store_true", help="cameras with lens distortion, weak and strong"
    )
    parser.add_argument("--size", type=_size, default="1280x384", help="WIDTHxHEIGHT in pixels")
    parser.add_argument(
        "--workers",
        type=whole(1),
        default=os.cpu_count() or 1,
        help="processes that render stills",
    )


def run(args: argparse.Namespace) -> int:
    """Render."""
    from tqdm import tqdm

    from km3d_ros.town.dataset import prepare, write_drive, write_stills

    if args.drive and (args.tilt or args.lenses):
        raise UsageError("--tilt and --lenses are for stills, not for a --drive")
    _claim(args.out, _scenes(args))
    prepare(args.out)
    common = (args.out, args.frames, args.seed, args.size, args.focal)
    if args.drive:
        names = write_drive(*common)
    else:
        names = write_stills(*common, args.workers, args.tilt, args.lenses)
    for _ in tqdm(names, "Rendering", args.frames, unit="frame", disable=None):
        pass
    print(f"{args.out}: {args.frames} frames")
    return 0


def _scenes(args: argparse.Namespace) -> str:
    """The options that determine the content of the frames."""
    scenes = "--seed {} --size {}x{}".format(args.seed, *args.size)
    scenes += "" if args.focal is None else f" --focal {args.focal}"
    scenes += f" --tilt {args.tilt}" if args.tilt else ""
    return scenes + " --lenses" * args.lenses + " --drive" * args.drive


def _claim(folder: Path, scenes: str) -> None:
    """Record the options in a new folder; refuse a folder with frames of other options."""
    from km3d_ros.data.files import read_text

    record = folder / RECORD
    if record.exists():
        former = read_text(record, _LONGEST_RECORD).strip()
        if former != scenes:
            raise InputError(
                f"{folder}: has frames of {former!r}, expected {scenes!r} or another folder"
            )
        return
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise InputError(f"{folder}: has files that are not of km3d town, expected a new folder")
    record.write_text(f"{scenes}\n")


def _size(text: str) -> tuple[int, int]:
    size = sides(text)
    if min(size) < 32:
        raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT of at least 32 pixels")
    return size
