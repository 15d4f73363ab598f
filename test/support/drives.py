"""Small recordings of cameras."""

from array import array

import numpy as np
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header, String

from km3d_ros.bag import BagWriter

WIDTH, HEIGHT = 96, 64
START = 1_700_000_000_000_000_000
PERIOD = 100_000_000


def header(i, frame_id="camera"):
    result = Header(frame_id=frame_id)
    result.stamp.sec, result.stamp.nanosec = divmod(START + i * PERIOD, 10**9)
    return result


def pixels(i):
    return np.random.default_rng(i).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def image(i, frame_id="camera", **changes):
    values = {"height": HEIGHT, "width": WIDTH, "encoding": "bgr8", "step": 3 * WIDTH}
    data = array("B", pixels(i).tobytes())
    return Image(**{"header": header(i, frame_id), "data": data} | values | changes)


def camera_info(i, frame_id="camera", focal=90.0, **changes):
    x, y = WIDTH / 2, HEIGHT / 2
    values = {
        "height": HEIGHT,
        "width": WIDTH,
        "distortion_model": "plumb_bob",
        "d": [0.0] * 5,
        "k": [focal, 0.0, x, 0.0, focal, y, 0.0, 0.0, 1.0],
        "p": [focal, 0.0, x, 0.0, 0.0, focal, y, 0.0, 0.0, 0.0, 1.0, 0.0],
    }
    return CameraInfo(**{"header": header(i, frame_id)} | values | changes)


def record(path, entries, storage="mcap"):
    """A recording of (topic, message, nanoseconds since START); bytes are those of an image."""
    with BagWriter(path, storage) as writer:
        for topic, message, time in entries:
            if isinstance(message, bytes):
                writer.write_serialized(topic, Image, message, START + time)
            else:
                writer.write(topic, message, START + time)
    return path


def drive(path, frames, cameras=("front",), storage="mcap", padding=0):
    """A recording of cameras, and of something else, which is so many bytes longer."""
    entries = []
    for i in range(frames):
        for n, name in enumerate(cameras):
            entries.append((f"/{name}/image_raw", image(10 * n + i), i * PERIOD + 1))
            entries.append((f"/{name}/camera_info", camera_info(i), i * PERIOD + 2))
        entries.append(("/chatter", String(data=f"frame {i}" + padding * "-"), i * PERIOD + 3))
    return record(path, entries, storage)
