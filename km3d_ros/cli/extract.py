"""`km3d extract`: the images of a bag as a KITTI-format folder."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from km3d_ros.cli import _options
from km3d_ros.cli._types import whole
from km3d_ros.errors import InputError, pip_install

if TYPE_CHECKING:
    from km3d_ros.data.bag_images import BagFrames


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        "extract",
        help="write the images of a recording as a KITTI-format folder",
        description="Write the images of one topic of a recording, without lens distortion "
        "and as a level camera sees them: DIR/image_2/NNNNNN.jpg and DIR/calib/NNNNNN.txt, "
        "NNNNNN is the number of the image in the topic. With boxes of any detector in "
        "DIR/label_2 the folder serves km3d adapt --boxes.",
    )
    add = parser.add_argument
    add(
        "bag",
        type=Path,
        metavar="BAG",
        help="rosbag2 folder, or one .mcap, .db3 or ROS 1 .bag file",
    )
    add("--out", type=Path, required=True, metavar="DIR", help="new or empty folder to write")
    add("--topic", metavar="NAME", help="image topic of a bag that has several")
    add(
        "--camera",
        type=Path,
        metavar="FILE",
        help="calibration instead of the CameraInfo of the bag: that of KITTI or of ROS",
    )
    _options.add_mount(parser, bag=True)
    add(
        "--frames",
        type=whole(1),
        default=1000,
        metavar="N",
        help="largest number of images; of more, evenly spread ones are written",
    )


def run(args: argparse.Namespace) -> int:
    """Write the folder."""
    try:
        from km3d_ros.data.bag_images import BagFrames
    except ImportError as error:
        raise InputError(f"bags need rosbags ({error}): {pip_install('rosbags')}") from error

    from km3d_ros.data.extraction import write_folder

    for needed in (args.bag, args.camera):
        if needed and not needed.exists():
            raise InputError(f"{needed}: no such file or folder")
    if args.out.exists() and any(args.out.iterdir()):
        raise InputError(f"{args.out}: has files, expected a new or empty folder")
    mounting = _options.mounting_of(args)
    frames = BagFrames(args.bag, args.topic, args.camera, args.frames, mounting)
    write_folder(args.out.resolve(), frames)
    print(f"{args.out}: {_summary(frames)}")
    return 0


def _summary(frames: BagFrames) -> str:
    from km3d_ros.data.box_labels import counted
    from km3d_ros.frames.topic_names import is_rectified

    spread = ", evenly spread" if frames.total > frames.most else ""
    total = counted(frames.total, "image")
    parts = [f"{frames.taken.total()} of {total} of {frames.topic}{spread}"]
    for width, height, undistorted in frames.taken:
        kind = (
            "no lens distortion in the calibration" if undistorted else "lens distortion removed"
        )
        kind = "rectified" if is_rectified(frames.topic) else f"raw, {kind}"
        parts.append(f"{width}x{height}, {kind}")
    if frames.broken:
        left_out = counted(len(frames.broken), "image")
        parts.append(f"left out: {left_out} that cannot be decoded ({frames.broken[0]})")
    return "; ".join(parts)
