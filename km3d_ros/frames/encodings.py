"""Image messages to BGR arrays; no message package is needed to run it."""

from __future__ import annotations

import re
import reprlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from km3d_ros.errors import InputError, naming
from km3d_ros.frames.bit_depth import BitDepth
from km3d_ros.frames.compressed import decode_channels

if TYPE_CHECKING:
    from sensor_msgs.msg import CompressedImage, Image


@dataclass(frozen=True)
class Layout:
    """How the bytes of an encoding are arranged, and how OpenCV converts them to BGR.

    channels: values per pixel in a row.
    sample: bytes per value.
    conversion: OpenCV colour code; None where the values are BGR already.
    planes: bytes of the image per byte of its first plane, where colour planes follow.
    chroma: bytes of a row of a colour plane per byte of a row of the first plane.
    """

    channels: int
    sample: int = 1
    conversion: int | None = None
    planes: float = 1.0
    chroma: float = 1.0


# OpenCV's older names of the Bayer patterns, by the second row: 4.5 has no others.
_BAYER = {
    "rggb": cv2.COLOR_BayerBG2BGR,
    "bggr": cv2.COLOR_BayerRG2BGR,
    "gbrg": cv2.COLOR_BayerGR2BGR,
    "grbg": cv2.COLOR_BayerGB2BGR,
}
_CHANNELS = {
    "bgr": (3, None),
    "rgb": (3, cv2.COLOR_RGB2BGR),
    "bgra": (4, cv2.COLOR_BGRA2BGR),
    "rgba": (4, cv2.COLOR_RGBA2BGR),
    "mono": (1, cv2.COLOR_GRAY2BGR),
}
_CHANNELS |= {f"bayer_{pattern}": (1, code) for pattern, code in _BAYER.items()}
_OPENCV_TYPES = {"UC1": "mono", "UC3": "bgr", "UC4": "bgra"}

_VIDEO = re.compile(r"h\.?26[45]|hevc|avc|av1|vp[89]|theora", re.IGNORECASE)

LAYOUTS = {
    f"{name}{bits}": Layout(channels, bits // 8, conversion)
    for name, (channels, conversion) in _CHANNELS.items()
    for bits in (8, 16)
}
LAYOUTS |= {
    f"{bits}{suffix}": LAYOUTS[f"{name}{bits}"]
    for suffix, name in _OPENCV_TYPES.items()
    for bits in (8, 16)
}
LAYOUTS |= {
    "yuv422": Layout(2, conversion=cv2.COLOR_YUV2BGR_UYVY),
    "uyvy": Layout(2, conversion=cv2.COLOR_YUV2BGR_UYVY),
    "yuv422_yuy2": Layout(2, conversion=cv2.COLOR_YUV2BGR_YUY2),
    "yuyv": Layout(2, conversion=cv2.COLOR_YUV2BGR_YUY2),
    "nv12": Layout(1, 1, cv2.COLOR_YUV2BGR_NV12, planes=1.5),
    "nv21": Layout(1, 1, cv2.COLOR_YUV2BGR_NV21, planes=1.5),
    "yuv420": Layout(1, 1, cv2.COLOR_YUV2BGR_I420, planes=1.5, chroma=0.5),
    "i420": Layout(1, 1, cv2.COLOR_YUV2BGR_I420, planes=1.5, chroma=0.5),
    "yv12": Layout(1, 1, cv2.COLOR_YUV2BGR_YV12, planes=1.5, chroma=0.5),
    # OpenCV does not know these two: they are converted as YUYV and YVYU with doubled pixels.
    "nv24": Layout(1, 1, cv2.COLOR_YUV2BGR_YUY2, planes=3, chroma=2),
    "nv42": Layout(1, 1, cv2.COLOR_YUV2BGR_YVYU, planes=3, chroma=2),
}


def to_bgr(message: Image | CompressedImage, depth: BitDepth | None = None) -> np.ndarray:
    """The picture in an image message.

    Row padding (`step`) and byte order are honoured. BGR images are not copied: the array is a
    view of the message's data, with its row stride. 16-bit values are reduced to the upper eight
    of the bits in use.

    depth: the bits in use of the stream that the message belongs to; None for a single image.

    Returns:
        (height, width, 3) uint8, BGR.

    Raises:
        InputError: unknown encoding, no or one pixel, less data than the header promises, or a
            compressed image that is not a whole PNG or JPEG.
    """
    depth = depth or BitDepth()
    if hasattr(message, "format"):
        return _decompress(message, depth)
    if message.width == 0 or message.height == 0:
        raise InputError(f"image has no pixels: {message.width}x{message.height}")
    if message.width == message.height == 1:  # OpenCV 4.5 cannot convert it
        raise InputError("image is a single pixel, expected a picture")
    layout = LAYOUTS.get(message.encoding)
    if layout is None:
        return _convert_with_cv_bridge(message)
    if layout.planes != 1:
        return _convert_planes(message, layout)
    pixels = depth.to_8_bits(_view(message, layout))
    return pixels if layout.conversion is None else cv2.cvtColor(pixels, layout.conversion)


def _view(message: Image, layout: Layout) -> np.ndarray:
    """The message's data as (height, width[, channels]) without copying it."""
    pixel = layout.channels * layout.sample
    _check_size(message, pixel)
    if layout.channels == 2:
        _check_even(message, message.width)
    shape, strides = (message.height, message.width), (message.step, pixel)
    if layout.channels > 1:
        shape, strides = (*shape, layout.channels), (*strides, layout.sample)
    order = ">" if message.is_bigendian else "<"
    return np.ndarray(shape, f"{order}u{layout.sample}", message.data, strides=strides)


def _convert_planes(message: Image, layout: Layout) -> np.ndarray:
    width = message.width
    height, step = _plane_size(message, layout)
    data = np.frombuffer(message.data, np.uint8, int(height * step * layout.planes))
    luma = data[: height * step].reshape(height, step)[:, :width]
    chroma = data[height * step :].reshape(-1, int(step * layout.chroma))
    chroma = chroma[:, : int(width * layout.chroma)]
    if layout.planes == 3:
        u, v = chroma[:, ::2], chroma[:, 1::2]
        doubled = np.stack((luma, u, luma, v), axis=-1).reshape(height, 2 * width, 2)
        return np.ascontiguousarray(cv2.cvtColor(doubled, layout.conversion)[:, ::2])
    planes = data if step == width else np.concatenate((luma.ravel(), chroma.ravel()))
    return cv2.cvtColor(planes.reshape(-1, width), layout.conversion)


def _plane_size(message: Image, layout: Layout) -> tuple[int, int]:
    """Height of the image and bytes per row of its first plane.

    `sensor_msgs` does not define `step` and `height` of such images. Drivers set `step` to the
    bytes per row of the first plane or to all bytes / height, and some count the rows of the
    colour planes in `height`.
    """
    width, height, step, size = message.width, message.height, message.step, len(message.data)
    if size == width * height * layout.planes:
        step = width
    elif width <= step < width * layout.planes and size == height * step and height % 3 == 0:
        height = int(height / layout.planes)
    else:
        _check_size(message, pixel=1)
    if layout.planes == 1.5:
        _check_even(message, width, height)
    if step % 2 and layout.chroma == 0.5:
        raise InputError(f"{message.encoding} image step is {step} bytes, expected an even number")
    rows = int(height * layout.planes)
    if size < rows * step:
        raise InputError(
            f"{message.encoding} image data is {size} bytes, "
            f"expected {rows} rows of {step} = {rows * step}"
        )
    return height, step


def _check_even(message: Image, *sides: int) -> None:
    """Colour values that neighbouring pixels share need even sides."""
    if any(side % 2 for side in sides):
        raise InputError(
            f"{message.encoding} image is {message.width}x{message.height}, expected even sizes"
        )


def _check_size(message: Image, pixel: int) -> None:
    """Check that the data has all rows, and rows have all pixels; `pixel`: bytes of one."""
    if len(message.data) < message.height * message.step:
        raise InputError(
            f"image data is {len(message.data)} bytes, expected height * step = "
            f"{message.height} * {message.step} = {message.height * message.step}"
        )
    if message.step < message.width * pixel:
        raise InputError(
            f"image step is {message.step} bytes, expected at least {message.width * pixel} "
            f"for {message.width} {message.encoding} pixels"
        )


def _decompress(message: CompressedImage, depth: BitDepth) -> np.ndarray:
    """A PNG or JPEG. Its `format` may be "ORIGINAL; CODEC compressed STORED", both encodings."""
    original, _, coded = message.format.partition(";")
    with naming(f"compressed image ({reprlib.repr(message.format)})"):
        if "compressedDepth" in coded:
            raise InputError("depths, expected a picture")
        if _VIDEO.search(message.format):
            raise InputError(
                "a piece of a video, expected a PNG or JPEG; decode it with "
                "`ros2 run image_transport republish`"
            )
        image = decode_channels(message.data, depth)
    if image.ndim == 2:
        # image_transport compresses a mosaic without colouring it.
        is_mosaic = original.startswith("bayer_") and original in LAYOUTS
        code = LAYOUTS[original].conversion if is_mosaic else cv2.COLOR_GRAY2BGR
        return cv2.cvtColor(image, code)
    # An RGB image is written as if it were BGR.
    return cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if "compressed rgb" in coded else image


def _convert_with_cv_bridge(message: Image) -> np.ndarray:
    """Convert encodings that only cv_bridge knows, where a ROS installation has it."""
    _check_size(message, pixel=0)
    name = reprlib.repr(message.encoding)
    try:
        from cv_bridge import CvBridge
    except ImportError:
        known = ", ".join(LAYOUTS)
        raise InputError(f"encoding {name} is unknown, expected one of: {known}") from None
    try:
        return CvBridge().imgmsg_to_cv2(message, "bgr8")
    # Besides its own error, it raises what numpy raises for a step that does not fit.
    except Exception as error:
        raise InputError(f"encoding {name}: {error}") from error
