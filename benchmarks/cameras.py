"""Several cameras on one model: `python benchmarks/cameras.py --seconds 60`.

Three cameras publish 1280x384 frames at 10 Hz. Then one of them stops, then another one. The
limits on two CPU cores with the embedded weights: the rates of the three cameras differ by at most
10 %; when a camera stops, the others are answered at least as often as before; the median age of
the first camera's answers does not grow with the number of cameras.
"""

from __future__ import annotations

import argparse
import os

import rclpy
from overload import ENVIRONMENT, REPORTED, Camera, Detector, percentile

NAMES = ("front", "left", "right")
RATE = 10.0


def measure(detector: Detector, cameras: dict[str, Camera], seconds: float) -> list[list[str]]:
    """Rows of the table: camera, frames per second, age p50 and p99 in milliseconds."""
    detector.forget()
    for camera in cameras.values():
        camera.send(RATE, seconds)
    detector.spin(seconds + REPORTED)
    for camera in cameras.values():
        camera.sent()
    rows = []
    for name, timings in detector.timings.items():
        rate = len(timings) / seconds
        ages = [timing.total for timing in timings]
        shown = [f"{percentile(ages, percent)}" for percent in (50, 99)] if ages else ["", ""]
        rows.append([name, f"{rate:.2f}", *shown])
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="each (default: 20)")
    options = parser.parse_args()
    os.environ |= ENVIRONMENT
    rclpy.init()
    cameras = {name: Camera(name) for name in NAMES}
    try:
        with Detector(NAMES) as detector:
            while not all(detector.timings.values()):  # until DDS has connected all of them
                for camera in cameras.values():
                    camera.send(RATE, 1.0)
                detector.spin(1.0 + REPORTED)
                for camera in cameras.values():
                    camera.sent()
            print("| cameras | camera | answers/s | age p50, ms | age p99 |\n" + "|---" * 5 + "|")
            rows = []
            for count in (3, 2, 1):
                sending = {name: cameras[name] for name in NAMES[:count]}
                for row in measure(detector, sending, options.seconds):
                    rows.append([str(count), *row])
                    print("| " + " | ".join(rows[-1]) + " |")
            rates = [float(rate) for count, _, rate, *_ in rows if count == "3"]
            print(f"most answered / least answered of three: {max(rates) / min(rates):.3f}")
    finally:
        for camera in cameras.values():
            camera.close()
    rclpy.shutdown()


if __name__ == "__main__":
    main()
