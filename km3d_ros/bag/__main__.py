"""`python -m km3d_ros.bag`: play a bag."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import rclpy
from rclpy.utilities import remove_ros_args

from km3d_ros.bag.player import play
from km3d_ros.errors import InputError


def main(argv: Sequence[str]) -> int:
    """Run; `argv` begins with the program. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m km3d_ros.bag", description="Play a bag.")
    verbs = parser.add_subparsers(required=True)
    verb = verbs.add_parser(
        "play",
        help="publish the messages of a bag at their recorded pace",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    verb.add_argument("bag", help="rosbag2 folder or .mcap file")
    verb.add_argument("--rate", type=_speed, default=1.0, help="speed, as a multiple of recorded")
    verb.add_argument(
        "--subscribers", type=int, default=0, help="start once every topic has so many"
    )
    verb.add_argument("--log", help="CSV of topic, recorded and publication time in ns")
    options = parser.parse_args(remove_ros_args(argv)[1:])
    rclpy.init(args=argv)
    try:
        play(options.bag, options.rate, options.subscribers, options.log)
    except InputError as error:
        print(f"km3d_ros.bag: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        rclpy.try_shutdown()
    return 0


def _speed(text: str) -> float:
    speed = float(text)
    if not 0 < speed < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no speed, expected a number above 0")
    return speed


if __name__ == "__main__":
    sys.exit(main(sys.argv))
