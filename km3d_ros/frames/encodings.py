"""Image messages to BGR arrays (design, section 8); no message package is needed to run it."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from km3d_ros.errors import InputError
from km3d_ros.frames.compressed import decode_image

if TYPE_CHECKING:
    from sensor_msgs.msg import CompressedImage, Image


@dataclass(frozen=True)
class Layout:
    """How the bytes of an encoding are arranged, and how OpenCV turns them into BGR.

    channels: values per pixel in a row.
    sample: bytes per value.
    conversion: OpenCV colour code; None where the values are BGR already.
    planes: rows of data per row of the image (3/2 where half-size colour planes follow).
    """

    channels: int
    sample: int = 1
    conversion: int | None = None
    planes: float = 1.0


LAYOUTS = {
    "bgr8": Layout(3),
    "8UC3": Layout(3),
    "rgb8": Layout(3, conversion=cv2.COLOR_RGB2BGR),
    "bgra8": Layout(4, conversion=cv2.COLOR_BGRA2BGR),
    "8UC4": Layout(4, conversion=cv2.COLOR_BGRA2BGR),
    "rgba8": Layout(4, conversion=cv2.COLOR_RGBA2BGR),
    "mono8": Layout(1, conversion=cv2.COLOR_GRAY2BGR),
    "8UC1": Layout(1, conversion=cv2.COLOR_GRAY2BGR),
    "mono16": Layout(1, 2, cv2.COLOR_GRAY2BGR),
    "bayer_rggb8": Layout(1, conversion=cv2.COLOR_BayerRGGB2BGR),
    "bayer_bggr8": Layout(1, conversion=cv2.COLOR_BayerBGGR2BGR),
    "bayer_gbrg8": Layout(1, conversion=cv2.COLOR_BayerGBRG2BGR),
    "bayer_grbg8": Layout(1, conversion=cv2.COLOR_BayerGRBG2BGR),
    "bayer_rggb16": Layout(1, 2, cv2.COLOR_BayerRGGB2BGR),
    "bayer_bggr16": Layout(1, 2, cv2.COLOR_BayerBGGR2BGR),
    "bayer_gbrg16": Layout(1, 2, cv2.COLOR_BayerGBRG2BGR),
    "bayer_grbg16": Layout(1, 2, cv2.COLOR_BayerGRBG2BGR),
    "yuv422": Layout(2, conversion=cv2.COLOR_YUV2BGR_UYVY),
    "uyvy": Layout(2, conversion=cv2.COLOR_YUV2BGR_UYVY),
    "yuv422_yuy2": Layout(2, conversion=cv2.COLOR_YUV2BGR_YUY2),
    "yuyv": Layout(2, conversion=cv2.COLOR_YUV2BGR_YUY2),
    "nv12": Layout(1, conversion=cv2.COLOR_YUV2BGR_NV12, planes=1.5),
    "nv21": Layout(1, conversion=cv2.COLOR_YUV2BGR_NV21, planes=1.5),
}


def to_bgr(message: Image | CompressedImage) -> np.ndarray:
    """The picture in an image message.

    Row padding (`step`) and byte order are honoured. BGR images are not copied: the array is a
    view of the message's data, with its row stride.

    Args:
        message: sensor_msgs/Image or sensor_msgs/CompressedImage.

    Returns:
        (height, width, 3) uint8, BGR.

    Raises:
        InputError: unknown encoding, no pixels, less data than the header promises, or a
            compressed image that is not a whole PNG or JPEG.
    """
    if hasattr(message, "format"):
        return _decompress(message)
    _check_size(message)
    layout = LAYOUTS.get(message.encoding)
    if layout is None:
        return _through_cv_bridge(message)
    pixels = _view(message, layout)
    if layout.sample == 2:
        pixels = (pixels >> 8).astype(np.uint8)
    if layout.conversion is None:
        return pixels
    return cv2.cvtColor(pixels, layout.conversion)


def _check_size(message: Image) -> None:
    if message.width == 0 or message.height == 0:
        raise InputError(f"image has no pixels: {message.width}x{message.height}")
    if len(message.data) < message.height * message.step:
        raise InputError(
            f"image data is {len(message.data)} bytes, expected height * step = "
            f"{message.height} * {message.step} = {message.height * message.step}"
        )


def _view(message: Image, layout: Layout) -> np.ndarray:
    """The message's data as (rows, width[, channels]) without copying it."""
    pixel = layout.channels * layout.sample
    if message.step < message.width * pixel:
        raise InputError(
            f"image step is {message.step} bytes, expected at least {message.width * pixel} "
            f"for {message.width} {message.encoding} pixels"
        )
    rows = _rows(message, layout)
    shape, strides = (rows, message.width), (message.step, pixel)
    if layout.channels > 1:
        shape, strides = (*shape, layout.channels), (*strides, layout.sample)
    order = ">" if message.is_bigendian else "<"
    return np.ndarray(shape, f"{order}u{layout.sample}", message.data, strides=strides)


def _rows(message: Image, layout: Layout) -> int:
    """Rows of data, colour planes included; shared chroma values need even sizes."""
    odd_width = message.width % 2 and (layout.channels == 2 or layout.planes != 1)
    odd_height = message.height % 2 and layout.planes != 1
    if odd_width or odd_height:
        raise InputError(
            f"{message.encoding} image is {message.width}x{message.height}, expected even sizes"
        )
    rows = int(message.height * layout.planes)
    if len(message.data) < rows * message.step:
        raise InputError(
            f"{message.encoding} image data is {len(message.data)} bytes, "
            f"expected {rows} rows of {message.step} = {rows * message.step}"
        )
    return rows


def _decompress(message: CompressedImage) -> np.ndarray:
    """A PNG or JPEG. Its `format` may be "ORIGINAL; CODEC compressed STORED", both encodings."""
    try:
        image = decode_image(message.data)
    except InputError as error:
        raise InputError(f"compressed image ({reprlib.repr(message.format)}): {error}") from None
    original, _, coded = message.format.partition(";")
    if "compressed rgb" in coded:
        # Written as if it were BGR.
        return cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    if original.startswith("bayer_") and original in LAYOUTS and "png" in coded:
        mosaic = cv2.extractChannel(image, 0)
        return cv2.cvtColor(mosaic, LAYOUTS[original].conversion)
    return image


def _through_cv_bridge(message: Image) -> np.ndarray:
    """What cv_bridge knows beyond the table, where a ROS installation has it."""
    name = reprlib.repr(message.encoding)
    try:
        from cv_bridge import CvBridge
    except ImportError:
        known = ", ".join(LAYOUTS)
        raise InputError(f"encoding {name} is unknown, expected one of: {known}") from None
    try:
        return CvBridge().imgmsg_to_cv2(message, "bgr8")
    # Beside its own error, what numpy says of a step that does not fit.
    except Exception as error:
        raise InputError(f"encoding {name}: {error}") from error
