"""Camera messages and parameters that nobody should send, as hypothesis draws them."""

from array import array

import cv2
import numpy as np
from hypothesis import strategies as st
from rcl_interfaces.msg import Parameter, ParameterValue
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from km3d_ros.frames.encodings import LAYOUTS
from km3d_ros.geometry import lens_models
from km3d_ros.node.parameters import PARAMETERS

WIDTH, HEIGHT, FOCAL = 160, 96, 150.0
NOISE = np.random.default_rng(0).integers(0, 256, 200_000, np.uint8).tobytes()
PICTURE = np.frombuffer(NOISE, np.uint8, 3 * WIDTH * HEIGHT).reshape(HEIGHT, WIDTH, 3)

UINT32 = st.sampled_from((0, 1, 2, 159, 161, 65535, 2**31, 2**32 - 1)) | st.integers(0, 2**32 - 1)
NUMBER = st.sampled_from((0.0, -0.0, 1e-308, 1e308, float("inf"), float("nan"))) | st.floats()
TEXT = st.text(max_size=20) | st.sampled_from(("x" * 100_000, "a\nb", "\0", "%s{}"))
FRAME_ID = st.sampled_from(("camera", "")) | TEXT
SIZES = ((160, 96), (1, 1), (2, 2), (161, 97), (1, 40_000), (40_000, 1), (64, 700), (33_000, 2))


def good_image(frame_id: str = "camera") -> Image:
    """Noise, bgr8; its stamp is to be set."""
    image = Image(height=HEIGHT, width=WIDTH, encoding="bgr8", step=3 * WIDTH)
    image.data = array("B", PICTURE.tobytes())
    image.header.frame_id = frame_id
    return image


def good_compressed(frame_id: str = "camera") -> CompressedImage:
    """The same as a jpeg."""
    image = CompressedImage(format="jpeg", data=_encode(".jpg"))
    image.header.frame_id = frame_id
    return image


def good_info(frame_id: str = "camera") -> CameraInfo:
    """A camera for that image."""
    info = CameraInfo(height=HEIGHT, width=WIDTH, distortion_model="plumb_bob", d=[0.0] * 5)
    x, y = WIDTH / 2, HEIGHT / 2
    info.k = [FOCAL, 0.0, x, 0.0, FOCAL, y, 0.0, 0.0, 1.0]
    info.p = [FOCAL, 0.0, x, 0.0, 0.0, FOCAL, y, 0.0, 0.0, 0.0, 1.0, 0.0]
    info.header.frame_id = frame_id
    return info


@st.composite
def images(draw) -> Image:
    """An Image with up to three fields spoiled."""
    return _spoil(draw, good_image(), IMAGE_FIELDS, at_least=0)


@st.composite
def compressed_images(draw) -> CompressedImage:
    """A CompressedImage: cut, with changed bytes (sizes in its header, too), or of no kind."""
    image = good_compressed()
    data = bytearray(draw(st.sampled_from((_encode(".jpg"), _encode(".png"), NOISE[:1000]))))
    for place, value in draw(st.dictionaries(st.integers(0, 400), BYTE, max_size=4)).items():
        data[place] = value
    image.data = array("B", data[: draw(st.none() | st.integers(0, len(data)))])
    return _spoil(draw, image, {"format": TEXT, "header": st.just(None)}, at_least=0)


@st.composite
def infos(draw) -> CameraInfo:
    """A CameraInfo with one to three fields spoiled."""
    return _spoil(draw, good_info(), INFO_FIELDS, at_least=1)


@st.composite
def odd_frames(draw) -> tuple[Image, CameraInfo]:
    """An image of any encoding and unusual size, true to its header, and its camera."""
    width, height = draw(st.sampled_from(SIZES))
    encoding = draw(st.sampled_from(sorted(LAYOUTS)))
    layout = LAYOUTS[encoding]
    step = width * layout.channels * layout.sample + draw(st.integers(0, 3))
    image, info = good_image(), good_info()
    image.width, image.height, image.step, image.encoding = width, height, step, encoding
    image.is_bigendian = draw(BYTE)
    image.data = array("B", (NOISE * 3)[: int(step * height * layout.planes)])
    info.width, info.height = width, height
    return image, info


@st.composite
def parameters(draw) -> Parameter:
    """A parameter of any name, type and value."""
    name = draw(st.sampled_from(PARAMETER_NAMES) | TEXT)
    field = draw(st.sampled_from(sorted(VALUES)))
    kind, values = VALUES[field]
    value = ParameterValue(type=draw(st.just(kind) | st.integers(0, 9)), **{field: draw(values)})
    return Parameter(name=name, value=value)


def _spoil(draw, message, fields, at_least):
    """The message with a stamp, and with other values in some fields."""
    message.header.stamp.sec = draw(STAMP)
    names = st.lists(st.sampled_from(sorted(fields)), min_size=at_least, max_size=3, unique=True)
    for field in draw(names):
        value = draw(fields[field])
        if field == "header":
            message.header.stamp.sec = draw(st.integers(-(2**31), 2**31 - 1))
            message.header.stamp.nanosec = draw(UINT32)
            message.header.frame_id = draw(FRAME_ID)
        elif field == "roi":
            for name, size in value.items():
                setattr(message.roi, name, size)
        elif field in ("k", "p", "r"):
            entries = list(getattr(message, field))
            for place, entry in value.items():
                entries[place] = entry
            setattr(message, field, entries)
        else:
            setattr(message, field, value)
    return message


def _entries(count: int) -> st.SearchStrategy[dict[int, float]]:
    some = st.dictionaries(st.integers(0, count - 1), NUMBER, min_size=1, max_size=3)
    return some | NUMBER.map(lambda value: dict.fromkeys(range(count), value))


def _encode(suffix: str) -> bytes:
    return cv2.imencode(suffix, PICTURE)[1].tobytes()


STAMP = st.integers(0, 5)
BYTE = st.integers(0, 255)
LENGTH = st.sampled_from((0, 1, 46_079, 46_081, 200_000)) | st.integers(0, 60_000)
DISTORTION = st.lists(NUMBER, max_size=16) | NUMBER.map(lambda value: [value] * 10_000)
IMAGE_FIELDS = {
    "header": st.just(None),
    "width": UINT32,
    "height": UINT32,
    "step": UINT32 | st.integers(475, 485),
    "encoding": st.sampled_from(sorted(LAYOUTS)) | TEXT,
    "is_bigendian": BYTE,
    "data": LENGTH.map(lambda length: array("B", NOISE[:length])),
}
INFO_FIELDS = {
    "header": st.just(None),
    "width": UINT32,
    "height": UINT32,
    "k": _entries(9),
    "p": _entries(12),
    "r": _entries(9),
    "d": DISTORTION,
    "distortion_model": st.sampled_from(sorted(lens_models.COEFFICIENTS)) | TEXT,
    "binning_x": UINT32,
    "binning_y": UINT32,
    "roi": st.fixed_dictionaries({n: UINT32 for n in ("x_offset", "y_offset", "width", "height")}),
}
PARAMETER_NAMES = sorted({rule.name for rule in PARAMETERS} - {"autostart"}) + ["use_sim_time"]
INT64 = st.integers(-(2**63), 2**63 - 1)
VALUES = {
    "bool_value": (1, st.booleans()),
    "integer_value": (2, st.integers(-2, 1002) | INT64),
    "double_value": (3, st.floats(-1, 61) | NUMBER),
    "string_value": (4, st.sampled_from(("published", "consistent")) | TEXT),
    "byte_array_value": (5, st.lists(st.binary(min_size=1, max_size=1), max_size=3)),
    "bool_array_value": (6, st.lists(st.booleans(), max_size=3)),
    "integer_array_value": (7, st.lists(INT64, max_size=3) | st.just([1] * 100_000)),
    "double_array_value": (8, st.lists(NUMBER, max_size=3) | st.just([0.0] * 100_000)),
    "string_array_value": (9, st.lists(st.just("Car") | TEXT, max_size=3)),
}
