import sys
from contextlib import suppress
from types import ModuleType

import cv2
import numpy as np
import pytest
from rosbags.image import message_to_cvimage
from sensor_msgs.msg import CompressedImage, Image

from km3d_ros.errors import InputError
from km3d_ros.frames.bit_depth import BitDepth
from km3d_ros.frames.encodings import LAYOUTS, to_bgr

RNG = np.random.default_rng(0)


def message(pixels, encoding, *, width=None, height=None, padding=0, bigendian=False):
    """An Image whose rows are those of `pixels`, each followed by `padding` bytes."""
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(len(pixels), -1)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    return Image(
        height=height or len(pixels),
        width=width or pixels.shape[1],
        encoding=encoding,
        step=rows.shape[1],
        is_bigendian=bigendian,
        data=rows.tobytes(),
    )


def noise(*shape, dtype=np.uint8):
    return RNG.integers(0, np.iinfo(dtype).max + 1, shape, dtype)


@pytest.mark.parametrize("padding", [0, 1, 3, 32])
@pytest.mark.parametrize(
    ("encoding", "channels", "order"),
    [
        ("bgr8", 3, [0, 1, 2]),
        ("8UC3", 3, [0, 1, 2]),
        ("rgb8", 3, [2, 1, 0]),
        ("bgra8", 4, [0, 1, 2]),
        ("8UC4", 4, [0, 1, 2]),
        ("rgba8", 4, [2, 1, 0]),
        ("mono8", 1, [0, 0, 0]),
        ("8UC1", 1, [0, 0, 0]),
    ],
)
def test_channels_come_out_as_bgr_whatever_the_step(encoding, channels, order, padding):
    pixels = noise(6, 10, channels)
    result = to_bgr(message(pixels, encoding, padding=padding))
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, pixels[..., order])


@pytest.mark.parametrize("padding", [0, 5])
def test_bgr_image_is_not_copied(padding):
    image = message(noise(6, 10, 3), "bgr8", padding=padding)
    assert np.shares_memory(to_bgr(image), np.frombuffer(image.data, np.uint8))


@pytest.mark.parametrize("bigendian", [False, True])
@pytest.mark.parametrize(
    ("encoding", "channels", "order"),
    [
        ("bgr16", 3, [0, 1, 2]),
        ("16UC3", 3, [0, 1, 2]),
        ("rgb16", 3, [2, 1, 0]),
        ("bgra16", 4, [0, 1, 2]),
        ("16UC4", 4, [0, 1, 2]),
        ("rgba16", 4, [2, 1, 0]),
        ("mono16", 1, [0, 0, 0]),
        ("16UC1", 1, [0, 0, 0]),
    ],
)
@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_16_bit_channels_keep_the_upper_eight_bits_in_use(
    encoding, channels, order, bits, bigendian
):
    pixels = noise(6, 10, channels, dtype=np.uint16) >> (16 - bits)
    pixels[0, 0] = 2**bits - 1
    stored = pixels.astype(">u2" if bigendian else "<u2")
    result = to_bgr(message(stored, encoding, bigendian=bigendian, padding=4))
    np.testing.assert_array_equal(result, (pixels >> (bits - 8))[..., order])


def test_bits_in_use_are_those_of_the_stream():
    depth = BitDepth()
    bright, dark = np.full((6, 10), 4095, np.uint16), np.full((6, 10), 160, np.uint16)
    assert to_bgr(message(bright, "mono16"), depth).max() == 255
    assert to_bgr(message(dark, "mono16"), depth).max() == 10
    assert to_bgr(compressed(dark), depth).max() == 10
    assert depth.bits == 12


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_patterns_give_the_colour_under_the_mosaic(pattern):
    red, green, blue = 200, 100, 50
    value = {"r": red, "g": green, "b": blue}
    mosaic = np.array([value[letter] for letter in pattern], np.uint8).reshape(2, 2)
    mosaic = np.tile(mosaic, (4, 5))
    inner = (slice(2, -2), slice(2, -2))
    result = to_bgr(message(mosaic, f"bayer_{pattern}8"))
    np.testing.assert_array_equal(result[inner], np.full((4, 6, 3), (blue, green, red)))
    for order in "<>":
        deep = (mosaic.astype(np.uint16) << 8).astype(f"{order}u2")
        deep = message(deep, f"bayer_{pattern}16", bigendian=order == ">", padding=3)
        np.testing.assert_array_equal(to_bgr(deep), result)


@pytest.mark.parametrize(
    ("encoding", "rows", "channels"),
    [
        ("rgb8", 6, 3),
        ("rgba8", 6, 4),
        ("bgra8", 6, 4),
        ("mono8", 6, 1),
        ("bayer_rggb8", 6, 1),
        ("bayer_bggr8", 6, 1),
        ("bayer_gbrg8", 6, 1),
        ("bayer_grbg8", 6, 1),
        ("yuv422", 6, 2),
        ("yuv422_yuy2", 6, 2),
    ],
)
@pytest.mark.parametrize("padding", [0, 7])
def test_conversion_equals_that_of_an_independent_reader(encoding, rows, channels, padding):
    pixels = noise(rows, 10, channels)
    padded = message(pixels, encoding, padding=padding)
    expected = message_to_cvimage(message(pixels, encoding), "bgr8")
    np.testing.assert_array_equal(to_bgr(padded), expected)


def test_yuv422_names_are_the_two_byte_orders():
    uyvy = noise(6, 10, 2)
    first = to_bgr(message(uyvy, "uyvy", padding=3))
    np.testing.assert_array_equal(first, to_bgr(message(uyvy, "yuv422")))
    np.testing.assert_array_equal(first, to_bgr(message(uyvy[..., ::-1], "yuyv")))


@pytest.mark.parametrize(("encoding", "swapped"), [("nv12", False), ("nv21", True)])
def test_half_size_colour_planes_are_understood(encoding, swapped):
    bgr = np.full((6, 10, 3), (200, 90, 30), np.uint8)
    planar = cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV_I420)
    colour = planar[6:].reshape(2, -1)[:: -1 if swapped else 1]
    planes = np.vstack((planar[:6], colour.T.reshape(3, 10)))
    result = to_bgr(message(planes, encoding, height=6, padding=4))
    np.testing.assert_allclose(result.astype(int), bgr, atol=3)


def planes_of(encoding, y, u, v):
    """Luma and colour planes of an encoding, each (rows, bytes); u and v in full size."""
    if encoding in ("nv24", "nv42"):
        pair = (u, v) if encoding == "nv24" else (v, u)
        return y, np.stack(pair, -1).reshape(len(y), -1)
    u, v = u[::2, ::2], v[::2, ::2]
    if encoding in ("nv12", "nv21"):
        return y, np.stack((u, v) if encoding == "nv12" else (v, u), -1).reshape(len(u), -1)
    return (y, v, u) if encoding == "yv12" else (y, u, v)


PLANAR = {"nv12": 1, "nv21": 1, "yuv420": 0.5, "i420": 0.5, "yv12": 0.5, "nv24": 2, "nv42": 2}
"""Bytes in a row of a colour plane for each byte in a row of luma."""


def planar(encoding, padding=0):
    """Bytes of a picture of two colours, blue above and grey to the right, and the picture."""
    bgr = np.full((8, 12, 3), (200, 90, 30), np.uint8)
    bgr[:, 6:] = 120
    planar = cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV_I420)
    u, v = (plane.reshape(4, 6).repeat(2, 0).repeat(2, 1) for plane in np.split(planar[8:], 2))
    stored = b""
    for number, plane in enumerate(planes_of(encoding, planar[:8], u, v)):
        pad = int(padding * PLANAR[encoding]) if number else padding
        stored += np.pad(plane, ((0, 0), (0, pad)), constant_values=77).tobytes()
    return stored, bgr


@pytest.mark.parametrize("encoding", PLANAR)
def test_colour_planes_are_understood_as_drivers_describe_them(encoding):
    total = 3 if encoding in ("nv24", "nv42") else 1.5
    data, bgr = planar(encoding)
    padded, _ = planar(encoding, padding=4)
    forms = {
        "bytes per row of luma": (data, 8, 12),
        "all bytes / height": (data, 8, int(12 * total)),
        "rows of luma and colour": (data, int(8 * total), 12),
        "no step": (data, 8, 0),
        "padded": (padded, 8, 16),
        "padded, rows of luma and colour": (padded, int(8 * total), 16),
    }
    for form, (stored, height, step) in forms.items():
        image = Image(width=12, height=height, encoding=encoding, step=step, data=stored)
        result = to_bgr(image).astype(int)
        assert result.shape == (8, 12, 3), form
        np.testing.assert_allclose(result, bgr, atol=3, err_msg=form)


def test_full_size_colour_planes_need_no_even_sides():
    image = Image(width=5, height=3, encoding="nv24", step=5, data=bytes([126] * 15 + [128] * 30))
    np.testing.assert_array_equal(to_bgr(image), np.full((3, 5, 3), 128))


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_compressed_image_is_decoded(suffix):
    picture = cv2.GaussianBlur(noise(16, 24, 3), None, 3)
    data = cv2.imencode(suffix, picture, [cv2.IMWRITE_JPEG_QUALITY, 100])[1]
    result = to_bgr(CompressedImage(format=suffix[1:], data=data.tobytes()))
    np.testing.assert_allclose(result.astype(int), picture, atol=0 if suffix == ".png" else 8)


def compressed(picture, suffix=".png", image_format="png"):
    data = cv2.imencode(suffix, picture)[1].tobytes()
    return CompressedImage(format=image_format, data=data)


def test_every_kind_of_png_comes_out_as_bgr():
    deep = noise(6, 10, 3, dtype=np.uint16)
    np.testing.assert_array_equal(to_bgr(compressed(deep)), deep >> 8)
    grey = noise(6, 10)
    np.testing.assert_array_equal(to_bgr(compressed(grey)), np.repeat(grey[..., None], 3, 2))
    alpha = noise(6, 10, 4)
    np.testing.assert_array_equal(to_bgr(compressed(alpha)), alpha[..., :3])


@pytest.mark.parametrize(
    ("image_format", "order"),
    [
        ("bgr8; png compressed bgr8", [0, 1, 2]),
        ("rgb8; png compressed bgr8", [0, 1, 2]),
        ("rgb8; png compressed rgb8", [2, 1, 0]),
        ("rgb8; jpeg compressed ", [0, 1, 2]),
        ("png", [0, 1, 2]),
        ("", [0, 1, 2]),
    ],
)
def test_format_of_image_transport_tells_the_order_of_the_colours(image_format, order):
    pixels = noise(6, 10, 3)
    result = to_bgr(compressed(pixels, image_format=image_format))
    np.testing.assert_array_equal(result, pixels[..., order])


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_mosaic_in_a_png_is_coloured(pattern, bits):
    mosaic = noise(8, 12) if bits == 8 else noise(8, 12, dtype=np.uint16) >> (16 - bits)
    encoding = f"bayer_{pattern}{mosaic.itemsize * 8}"
    result = to_bgr(compressed(mosaic, image_format=f"{encoding}; png compressed "))
    np.testing.assert_array_equal(result, to_bgr(message(mosaic, encoding)))


def test_picture_that_was_coloured_before_its_compression_stays_as_it_is():
    pixels = noise(6, 10, 3)
    picture = compressed(pixels, image_format="bayer_rggb8; png compressed bgr8")
    np.testing.assert_array_equal(to_bgr(picture), pixels)


def test_compressed_depths_are_refused():
    with pytest.raises(InputError, match=r"'16UC1; compressedDepth png'\): depths, expected a"):
        to_bgr(compressed(noise(6, 10), image_format="16UC1; compressedDepth png"))


@pytest.mark.parametrize("image_format", ["h264", "H.265", "hevc", "avc1"])
def test_pieces_of_a_video_are_refused_with_what_to_do(image_format):
    with pytest.raises(InputError, match=rf"{image_format}'\): a piece of a video, .* republish"):
        to_bgr(CompressedImage(format=image_format, data=b"\0\0\0\1"))


@pytest.mark.parametrize("data", [b"", b"no picture"])
def test_undecodable_compressed_image_is_refused(data):
    words = rf"'jpeg'\): not a readable PNG or JPEG image \({len(data)} bytes\)"
    with pytest.raises(InputError, match=words):
        to_bgr(CompressedImage(format="jpeg", data=data))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"encoding": "x" * 10**6}, "encoding 'xxxxxxxxxxxx...xxxxxxxxxxxxx' is unknown, exp"),
        ({"encoding": "8UC2"}, "encoding '8UC2' is unknown, expected one of: bgr8"),
        ({"encoding": "32FC1"}, "encoding '32FC1' is unknown, expected one of: bgr8"),
        ({"data": bytes(179)}, r"179 bytes, expected height \* step = 6 \* 30 = 180"),
        ({"height": 65535, "width": 65535, "step": 196605}, "expected height"),
        ({"width": 0}, "no pixels: 0x6"),
        ({"height": 0}, "no pixels: 10x0"),
        ({"height": 1, "width": 1}, "a single pixel"),
        ({"step": 29}, "step is 29 bytes, expected at least 30 for 10 bgr8 pixels"),
        ({"encoding": "nv12"}, r"180 bytes, expected 9 rows of 30 = 270"),
        ({"encoding": "yuv422", "width": 9}, "9x6, expected even sizes"),
        ({"encoding": "nv12", "height": 5}, "10x5, expected even sizes"),
    ],
)
def test_unusable_image_is_refused_with_what_was_expected(changes, words):
    image = message(noise(6, 10, 3), "bgr8")
    for name, value in changes.items():
        setattr(image, name, value)
    with pytest.raises(InputError, match=words):
        to_bgr(image)


@pytest.mark.parametrize("size", [(1, 2), (2, 1), (1, 3), (3, 1), (2, 2), (3, 3)])
def test_tiny_images_of_every_encoding_are_converted_or_refused(size):
    height, width = size
    converted = set()
    for encoding, layout in LAYOUTS.items():
        step = width * layout.channels * layout.sample
        data = bytes(int(height * step * layout.planes))
        image = Image(height=height, width=width, encoding=encoding, step=step, data=data)
        with suppress(InputError):
            assert to_bgr(image).shape == (*size, 3)
            converted.add(encoding)
    assert converted >= {"bgr8", "rgb8", "rgba16", "mono8", "16UC1"}


def test_every_encoding_is_refused_when_its_data_is_short():
    for encoding in LAYOUTS:
        image = Image(height=6, width=10, encoding=encoding, step=40, data=bytes(239))
        with pytest.raises(InputError, match="data is 239 bytes"):
            to_bgr(image)


def test_encoding_that_only_cv_bridge_knows_goes_through_it(monkeypatch):
    class CvBridgeError(Exception):
        pass

    class CvBridge:
        def imgmsg_to_cv2(self, image, desired_encoding):
            if image.encoding != "8SC3":
                raise CvBridgeError("no conversion")
            if image.is_bigendian:
                raise AttributeError("no newbyteorder")
            return np.full((image.height, image.width, 3), len(desired_encoding), np.uint8)

    module = ModuleType("cv_bridge")
    module.CvBridge, module.CvBridgeError = CvBridge, CvBridgeError
    monkeypatch.setitem(sys.modules, "cv_bridge", module)
    assert to_bgr(message(noise(6, 10, 3), "8SC3")).shape == (6, 10, 3)
    with pytest.raises(InputError, match="'32FC7': no conversion"):
        to_bgr(message(noise(6, 10, 3), "32FC7"))
    with pytest.raises(InputError, match="'8SC3': no newbyteorder"):
        to_bgr(message(noise(6, 10, 3), "8SC3", bigendian=True))
