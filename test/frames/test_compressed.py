import struct
import zlib
from array import array

import cv2
import numpy as np
import pytest
from support.cameras import HEIGHT, WIDTH, picture
from support.limited import refusals

from km3d_ros.data.image_file import read_image
from km3d_ros.errors import InputError
from km3d_ros.frames.compressed import decode_image, read_header

JPEG_ENCODINGS = {"baseline": [], "progressive": [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]}


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, rows=b""):
    """A PNG that says it is that large."""
    header = png_chunk(b"IHDR", struct.pack(">II5B", width, height, 8, 2, 0, 0, 0))
    body = png_chunk(b"IDAT", zlib.compress(rows, 1)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + body


def jpeg(image, options=()):
    return cv2.imencode(".jpg", image, [*options])[1].tobytes()


def jpeg_that_says(width, height):
    data = jpeg(np.zeros((16, 16, 3), np.uint8))
    size = data.index(b"\xff\xc0") + 5
    return data[:size] + struct.pack(">HH", height, width) + data[size + 4 :]


def with_thumbnail(data, thumbnail):
    """A JPEG with another one in a segment before its own header, as cameras write it."""
    return data[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(thumbnail)) + thumbnail + data[2:]


PNG = png(16, 16, bytes(16 * 49))
JPEG = jpeg(np.zeros((16, 16, 3), np.uint8))
HOSTILE = {
    "png_65535.png": png(65535, 65535, bytes(1000)),
    "png_zeros.png": png(10_000, 10_000, bytes(10_000 * 30_001)),
    "png_lies.png": PNG[:33] + b"\x7f\xff\xff\xf0IDAT" + bytes(40),
    "png_lies_last.png": PNG[:-12] + b"\x7f\xff\xff\xf0IEND" + bytes(4),
    "animated.png": PNG[:33] + png_chunk(b"acTL", bytes(8)) + PNG[33:],
    "jpeg_65500.jpg": jpeg_that_says(65500, 65500),
    "jpeg_10k.jpg": jpeg_that_says(10_000, 10_000),
    "tiff.png": cv2.imencode(".tiff", picture())[1].tobytes(),
    "webp.jpg": cv2.imencode(".webp", picture())[1].tobytes(),
    "signature.png": b"\x89PNG\r\n\x1a\n",
    "signature.jpg": b"\xff\xd8",
    "segments.jpg": JPEG[:2] + 200_000 * b"\xff\xfe\0\2" + JPEG[2:],
    "chunks.png": PNG[:33] + 200_000 * png_chunk(b"tEXt", b"") + PNG[33:],
}


def scans(count):
    """A progressive JPEG whose last scan comes so many times more."""
    data = jpeg(picture(), JPEG_ENCODINGS["progressive"])
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + count * last + data[-2:]


def test_hostile_pictures_are_refused_before_they_are_decoded(tmp_path):
    paths = [tmp_path / name for name in HOSTILE]
    for path in paths:
        path.write_bytes(HOSTILE[path.name])
    said, megabytes = refusals(read_image, paths)
    limit = "pixels, expected at most 33.6 million"
    causes = {n: f"not a readable PNG or JPEG image ({len(d)} bytes)" for n, d in HOSTILE.items()}
    causes |= {
        "png_65535.png": f"a picture of 65535x65535 {limit}",
        "png_zeros.png": f"a picture of 10000x10000 {limit}",
        "jpeg_65500.jpg": f"a picture of 65500x65500 {limit}",
        "jpeg_10k.jpg": f"a picture of 10000x10000 {limit}",
    }
    assert said == [f"{path}: {causes[path.name]}" for path in paths]
    assert megabytes < 50


def test_jpeg_of_endless_scans_is_refused():
    assert decode_image(scans(20)).shape == (HEIGHT, WIDTH, 3)
    with pytest.raises(InputError, match="not a readable PNG or JPEG image"):
        decode_image(scans(200))


@pytest.mark.parametrize("kind", JPEG_ENCODINGS)
@pytest.mark.parametrize(
    "container", [bytes, bytearray, memoryview, lambda data: array("B", data)]
)
def test_whole_pictures_are_decoded_from_any_buffer(kind, container):
    data = jpeg(picture(), JPEG_ENCODINGS[kind])
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(decode_image(container(data)), expected)
    data = cv2.imencode(".png", picture())[1].tobytes()
    np.testing.assert_array_equal(decode_image(container(data)), picture())


def test_small_png_is_decoded():
    assert (decode_image(PNG) == np.zeros((16, 16, 3))).all()


def test_single_pixel_is_refused():
    with pytest.raises(InputError, match="a single pixel"):
        decode_image(png(1, 1, bytes(4)))


def test_large_picture_within_the_limit_is_decoded():
    assert decode_image(png(7680, 4320, bytes(4320 * 23_041))).shape == (4320, 7680, 3)


def test_picture_with_a_thumbnail_is_measured_and_checked_itself():
    data = with_thumbnail(jpeg(picture()), jpeg(np.zeros((16, 16, 3), np.uint8)))
    assert decode_image(data).shape == (HEIGHT, WIDTH, 3)
    assert read_header(data)[:2] == (WIDTH, HEIGHT)
    with pytest.raises(InputError, match="not a readable PNG or JPEG image"):
        decode_image(data[: len(data) // 2])


def test_pixels_stay_where_the_calibration_has_them():
    """An orientation that a viewer would turn the picture by is not looked at."""
    turned = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    assert decode_image(with_thumbnail(jpeg(picture()), turned)).shape == (HEIGHT, WIDTH, 3)
