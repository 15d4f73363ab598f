"""Play a bag over DDS: `python -m km3d_ros.demo.player BAG`."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import rclpy
from rclpy.utilities import remove_ros_args

from km3d_ros.bag import message_class
from km3d_ros.cli._types import number, whole
from km3d_ros.data.bag_images import open_bag
from km3d_ros.demo.publishing import publish
from km3d_ros.errors import InputError


def main(argv: Sequence[str]) -> int:
    """Run the player; `argv` begins with the program. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m km3d_ros.demo.player",
        description="Publish the messages of a bag at their recorded pace.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("bag", type=Path, help="rosbag2 folder or .mcap file")
    add(
        "--rate",
        type=number(0.01, 1000, "a speed of 0.01 to 1000"),
        default=1.0,
        help="speed, as a multiple of recorded",
    )
    add("--subscribers", type=whole(0), default=0, help="start once every topic has so many")
    add("--log", help="CSV of topic, recorded and publication time (time.monotonic_ns) in ns")
    options = parser.parse_args(remove_ros_args(argv)[1:])
    rclpy.init(args=argv)
    try:
        with closing(open_bag(options.bag)) as reader:
            types = {c.topic: message_class(c.msgtype) for c in reader.connections}
            messages = ((c.topic, bytes(data), time) for c, time, data in reader.messages())
            published = publish(types, messages, options.rate, options.subscribers)
        if options.log:
            with open(options.log, "w", newline="") as file:
                csv.writer(file).writerows(published)
    except InputError as error:
        print(f"player: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
