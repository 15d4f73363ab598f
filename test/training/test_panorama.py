import cv2
import numpy as np
import pytest
from support.frames import car

from km3d_ros.data.kitti import Frame
from km3d_ros.errors import InputError
from km3d_ros.training.box_edges import OWN
from km3d_ros.training.panorama import RESOLUTION, as_picture, panorama

INPUT = (96, 320)
HEIGHT, WIDTH = (RESOLUTION * side for side in INPUT)
GROUND, PAINT = 40, 220


@pytest.fixture
def still(tmp_path):
    """Makes stills of a size with one painted rectangle: left, top, right and bottom pixel."""

    def make(name, width, height, box=None, **changes):
        image = np.full((height, width, 3), GROUND, np.uint8)
        if box:
            x0, y0, x1, y1 = box
            image[y0 : y1 + 1, x0 : x1 + 1] = PAINT
        path = tmp_path / f"{name}.png"
        cv2.imwrite(str(path), image)
        objects = [car(tuple(map(float, box)), **changes)] if box else []
        return Frame(name, path, None, objects)

    return make


@pytest.fixture
def stills(still):
    return [
        still("a", 320, 240, (60, 70, 219, 189)),
        still("b", 200, 300, (40, 60, 149, 259)),
        still("c", 900, 500, (200, 150, 799, 399)),
        still("d", 256, 160, (60, 40, 189, 119)),
    ]


def picture_of(stills, seed, first=0):
    return panorama(stills[first], stills, np.random.default_rng(seed), INPUT)


@pytest.mark.parametrize("seed", range(12))
def test_every_box_shows_its_object_and_nothing_else_does(stills, seed):
    image, _, boxes = picture_of(stills, seed, seed % 4)
    painted = image[..., 0] > (GROUND + PAINT) / 2
    rest = painted.copy()
    for item in boxes:
        x0, y0, x1, y1 = (round(v) for v in item.box)
        assert painted[y0 + 2 : y1 - 1, x0 + 2 : x1 - 1].all()
        rest[max(0, y0 - 1) : y1 + 2, max(0, x0 - 1) : x1 + 2] = False
    assert len(boxes) > 1
    # Single lines of an object that ends at a cut make no box.
    columns, rows = rest.sum(0), rest.sum(1)
    assert min((columns > 0).sum(), (rows > 0).sum()) <= 1
    assert {item.class_name for item in boxes} <= {"Car", "DontCare"}


def test_boxes_end_where_the_objects_do(still):
    # Wide open spaces: no box is cut, and each is measured by what is painted.
    alone = [still("a", 400, 240, (150, 90, 249, 149))]
    measured = 0
    for seed in range(8):
        image, _, boxes = picture_of(alone, seed)
        light = (image[..., 0].astype(float) - GROUND) / (PAINT - GROUND)
        for item in boxes:
            if item.own != OWN:
                continue
            x0, y0, x1, y1 = (round(v) for v in item.box)
            around = light[max(0, y0 - 6) : y1 + 7, max(0, x0 - 6) : x1 + 7]
            across, down = (
                around[around.shape[0] // 2].sum(),
                around[:, around.shape[1] // 2].sum(),
            )
            # Boxes reach from the middle of a pixel to the middle of another one.
            assert across == pytest.approx(item.box[2] - item.box[0] + 1, abs=1)
            assert down == pytest.approx(item.box[3] - item.box[1] + 1, abs=1)
            measured += 1
    assert measured > 20


def test_edges_cut_by_the_still_or_the_panorama_are_not_own(still):
    alone = [still("a", 400, 240, (0, 90, 249, 149))]
    right = []
    for seed in range(12):
        for item in picture_of(alone, seed).boxes:
            assert not item.own[0]
            assert item.box[2] <= WIDTH - 1
            right.append(item.own[2])
            assert item.own[2] == (item.box[2] < WIDTH - 1)
    assert {True, False} == set(right)


def test_picture_fills_twice_the_input_and_is_seen_by_a_plausible_camera(stills):
    for seed in range(6):
        image, projection, boxes = picture_of(stills, seed)
        assert image.shape == (HEIGHT, WIDTH, 3)
        assert image.dtype == np.uint8
        assert image.min() >= GROUND - 2  # nothing is left empty
        focal = 0.75 * WIDTH
        expected = [[focal, 0, (WIDTH - 1) / 2, 0], [0, focal, (HEIGHT - 1) / 2, 0], [0, 0, 1, 0]]
        assert projection.tolist() == expected
        for item in boxes:
            x0, y0, x1, y1 = item.box
            assert 0 <= x0 < x1 <= WIDTH - 1
            assert 0 <= y0 < y1 <= HEIGHT - 1


def test_panorama_is_drawn_from_the_generator_alone(stills):
    one, again, other = (picture_of(stills, seed) for seed in (3, 3, 4))
    assert np.array_equal(one.image, again.image)
    assert one.boxes == again.boxes
    assert one.boxes != other.boxes


def test_first_still_is_always_shown(still):
    first = still("first", 160, 120, (40, 30, 119, 89), class_name="Cyclist")
    others = [still("b", 160, 120, (40, 30, 119, 89))]
    for seed in range(8):
        boxes = panorama(first, others, np.random.default_rng(seed), INPUT).boxes
        assert sum(item.class_name == "Cyclist" for item in boxes) == 1


@pytest.mark.parametrize(
    "size", [(1, 2), (2, 300), (300, 2), (3, 3), (5000, 4), (4, 3000), (640, 480)]
)
def test_stills_of_any_size_fill_a_panorama(still, size):
    alone = [still("a", *size)]
    for seed in range(2):
        image = picture_of(alone, seed).image
        assert image.shape == (HEIGHT, WIDTH, 3)
        assert (image == GROUND).all()


def test_very_wide_still_is_not_enlarged_beyond_what_is_shown(still, monkeypatch):
    sizes, resize = [], cv2.resize
    monkeypatch.setattr(
        cv2,
        "resize",
        lambda image, size, **more: sizes.append(size) or resize(image, size, **more),
    )
    boxes = picture_of([still("a", 9000, 12, (1, 2, 30, 10))], 1).boxes
    assert sizes
    assert all(width < 2 * WIDTH for width, _ in sizes)
    assert boxes


def test_unreadable_still_is_named(still):
    first = still("first", 4, 4)
    broken = still("broken", 40, 40)
    broken.image_path.write_bytes(b"no image")
    for frame, others in ((broken, [first]), (first, [broken])):
        with pytest.raises(InputError, match=r"broken\.png: not a readable PNG or JPEG image"):
            panorama(frame, others, np.random.default_rng(0), INPUT)


def test_calibrated_frame_stays_as_it_is(still):
    projection = np.array([[90.0, 0, 50, 1], [0, 90, 30, 0], [0, 0, 1, 0]])
    plain = still("a", 100, 60, (20, 10, 49, 39))
    picture = as_picture(Frame("a", plain.image_path, projection, plain.objects))
    assert picture.image.shape == (60, 100, 3)
    assert picture.projection is projection
    assert [(item.box, item.own) for item in picture.boxes] == [((20.0, 10.0, 49.0, 39.0), OWN)]
