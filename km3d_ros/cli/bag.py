"""`km3d bag`: boxes for a recording."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from km3d_ros.cli import _detector, _options
from km3d_ros.cli._types import topic_prefix
from km3d_ros.errors import InputError, pip_install

if TYPE_CHECKING:
    from km3d_ros.bag.detect_bag import Summary


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Declare the verb."""
    parser = subparsers.add_parser(
        "bag",
        help="detect objects in a recording of ROS topics",
        description="Detect objects in every image of a recording, in order, and write it again "
        "with the detections beside the images. Of a damaged recording, the messages before the "
        "damage are kept.",
    )
    add = parser.add_argument
    add(
        "source",
        type=Path,
        metavar="IN",
        help="rosbag2 folder, or one .mcap, .db3 or ROS 1 .bag file",
    )
    add("out", type=Path, metavar="OUT", help="new rosbag2 folder, stored like IN, or .mcap file")
    add(
        "--image",
        action="append",
        default=[],
        metavar="TOPIC",
        help="image topic, may be repeated (default: of every camera with a CameraInfo beside)",
    )
    calibration = parser.add_mutually_exclusive_group()
    calibration.add_argument(
        "--camera-info",
        metavar="TOPIC",
        help="CameraInfo topic of the only camera (default: the one beside its images)",
    )
    calibration.add_argument(
        "--camera",
        type=Path,
        metavar="FILE",
        help="calibration of the only camera instead of CameraInfo: that of ROS or of KITTI",
    )
    rectified = parser.add_mutually_exclusive_group()
    rectified.add_argument(
        "--rectified",
        action="store_true",
        default=None,
        help="images are rectified (default: those of topics named like image_rect are)",
    )
    rectified.add_argument(
        "--raw", dest="rectified", action="store_false", default=None, help="images are raw"
    )
    add(
        "--prefix",
        type=topic_prefix,
        default="/km3d",
        metavar="TOPIC",
        help="results go to TOPIC/detections and TOPIC/objects, with several cameras to "
        "TOPIC/NAME/detections",
    )
    _options.add_mount(parser, bag=True)
    tracking = parser.add_argument_group("tracking")
    tracking.add_argument(
        "--tracks",
        action="store_true",
        help="track the objects of all cameras, too (docs/tracking.md); results go to "
        "PREFIX_tracker/tracks and PREFIX_tracker/objects",
    )
    tracking.add_argument(
        "--odometry",
        default="",
        metavar="TOPIC",
        help="nav_msgs/Odometry of the vehicle (default: the only one in the recording, if any)",
    )
    tracking.add_argument(
        "--mount",
        action="append",
        default=[],
        metavar="MOUNT",
        help="'FRAME X Y Z ROLL PITCH YAW' of a camera's frame in the odometry's child_frame_id, "
        "metres and radians, if /tf_static does not have it; may be repeated",
    )
    tracking.add_argument(
        "--ground-frame",
        metavar="FRAME",
        help="frame whose xy plane is the ground; without a static transform to it, or if it is "
        "empty, the ground is learned from the detections (default: base_footprint)",
    )
    _detector.add_options(parser)
    add("--json", action="store_true", help="print the summary as JSON")


def run(args: argparse.Namespace) -> int:
    """Detect and write."""
    try:
        from km3d_ros.bag.camera_topics import Wanted
        from km3d_ros.bag.detect_bag import detect_in_bag
        from km3d_ros.tracking.world import GROUND_FRAME
    except ImportError as error:
        packages = pip_install("rosbags", "mcap", "lz4", "zstandard")
        raise InputError(f"bags need ROS 2, rosbags and mcap ({error}): {packages}") from error

    if args.camera and not args.camera.is_file():
        raise InputError(f"{args.camera}: no such file")
    if not args.tracks and (args.odometry or args.mount or args.ground_frame is not None):
        raise InputError("--odometry, --mount and --ground-frame need --tracks")
    wanted = Wanted(
        args.image,
        args.camera_info,
        args.camera,
        args.rectified,
        args.prefix,
        args.tracks,
        args.odometry,
        args.mount,
        GROUND_FRAME if args.ground_frame is None else args.ground_frame,
    )
    mounting = _options.mounting_of(args)
    summary = detect_in_bag(args.source, args.out, wanted, mounting, _detector.load(args))
    print(json.dumps(asdict(summary)) if args.json else _as_text(summary))
    return 0


def _as_text(summary: Summary) -> str:
    lines = [f"{summary.out}: {summary.messages} messages of {summary.source}"]
    if summary.damaged:
        lines[0] += f"; damaged spots: {summary.damaged}"
    for camera in summary.cameras:
        used = "rectified (P" if camera.rectified else "raw (K, D and R"
        lines.append(
            f"{camera.images} -> {camera.detections}: {camera.answered} of {camera.frames} frames"
            f"; {used} of {camera.camera_info})" + _unusable(camera.unusable)
        )
    if tracking := summary.tracking:
        motion = f"motion from {tracking.odometry}" if tracking.odometry else "no odometry"
        grounds = ", ".join(sorted(set(tracking.ground_sources.values())))
        lines.append(
            f"{tracking.tracks}: {tracking.objects} objects in {tracking.images} images; "
            f"{motion}; frame {tracking.frame or 'not known'}; ground "
            f"{grounds or 'not known'}" + _unusable(tracking.unusable)
        )
    return "\n".join(lines)


def _unusable(causes: Mapping[str, int]) -> str:
    found = ", ".join(f"{cause} {n}" for cause, n in causes.items())
    return f"; not usable: {found}" if found else ""
