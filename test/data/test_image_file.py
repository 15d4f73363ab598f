import cv2
import numpy as np
import pytest
from support.cameras import HEIGHT, WIDTH, picture

from km3d_ros.data.image_file import read_image, read_image_size
from km3d_ros.errors import InputError


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_size_is_read_from_the_header(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    cv2.imwrite(str(path), picture())
    assert read_image_size(path) == (WIDTH, HEIGHT)
    causes = {b"no image": "not a readable PNG or JPEG image", b"": "an empty file"}
    causes[path.read_bytes()[:15]] = "not a readable PNG or JPEG image"
    for content, cause in causes.items():
        path.write_bytes(content)
        with pytest.raises(InputError, match=rf"a{suffix}: {cause}"):
            read_image_size(path)
    with pytest.raises(InputError, match=r"none\.png: No such file"):
        read_image_size(tmp_path / "none.png")


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("part", [0, 0.1, 0.5, 0.95])
def test_image_that_was_cut_off_is_named(tmp_path, suffix, part):
    noise = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    data = cv2.imencode(suffix, noise)[1].tobytes()
    path = tmp_path / f"000000{suffix}"
    path.write_bytes(data)
    assert read_image(path).shape == (40, 60, 3)
    path.write_bytes(data[: int(part * len(data))])
    with pytest.raises(InputError, match=rf"000000\{suffix}: not a readable PNG or JPEG image"):
        read_image(path)


@pytest.mark.parametrize("content", [b"no image", None])
def test_file_that_is_no_image_is_named(tmp_path, content):
    path = tmp_path / "000000.png"
    if content:
        path.write_bytes(content)
    with pytest.raises(
        InputError, match=r"000000\.png: (not a readable PNG or JPEG image|No such file)"
    ):
        read_image(path)
