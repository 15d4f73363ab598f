import numpy as np
import pytest
from support.frames import car

from km3d_ros.training.box_edges import OWN, Box2D, boxes_of, mirrored_boxes, seen_boxes

WIDTH, HEIGHT = 200, 100
AS_IT_IS = np.eye(2, 3)
INSIDE = (60.0, 30.0, 100.0, 70.0)


def area(box):
    return (box[2] - box[0]) * (box[3] - box[1])


def boxes(*corners, **changes):
    return boxes_of([car(box, **changes) for box in corners], WIDTH, HEIGHT)


def test_edges_inside_the_image_are_the_objects_own():
    assert boxes(INSIDE) == [Box2D("Car", INSIDE, OWN)]


@pytest.mark.parametrize(
    ("box", "own"),
    [
        ((0.0, 30.0, 100.0, 70.0), (False, True, True, True)),
        ((3.0, 30.0, 100.0, 70.0), (False, True, True, True)),
        ((3.1, 30.0, 100.0, 70.0), OWN),
        ((60.0, 2.0, 100.0, 70.0), (True, False, True, True)),
        ((60.0, 30.0, 199.0, 70.0), (True, True, False, True)),
        ((60.0, 30.0, 196.0, 70.0), (True, True, False, True)),
        ((60.0, 30.0, 195.9, 70.0), OWN),
        ((60.0, 30.0, 100.0, 97.0), (True, True, True, False)),
        ((0.0, 0.0, 199.0, 99.0), (False, False, False, False)),
    ],
)
def test_edges_at_the_border_are_not_own(box, own):
    assert boxes(box) == [Box2D("Car", box, own)]


@pytest.mark.parametrize(
    ("nearer", "own"),
    [
        ((92.0, 20.0, 150.0, 90.0), (True, True, False, True)),
        ((20.0, 20.0, 68.0, 90.0), (False, True, True, True)),
        ((50.0, 60.0, 110.0, 90.0), (True, True, True, False)),
        ((110.0, 20.0, 150.0, 90.0), OWN),  # beside it
    ],
)
def test_edges_behind_a_nearer_box_are_not_own(nearer, own):
    found = boxes(INSIDE, nearer)
    assert found == [Box2D("Car", INSIDE, own), Box2D("Car", nearer, OWN)]


def test_edges_before_a_farther_box_are_own():
    farther = (70.0, 4.0, 90.0, 38.0)
    assert boxes(INSIDE, farther) == [
        Box2D("Car", INSIDE, OWN),
        Box2D("Car", farther, (True, True, True, False)),
    ]


def test_edge_may_be_covered_by_a_third():
    # Of the right edge's 40 pixels; what is within 3 pixels of a box counts as covered.
    bottom = 90.0
    assert boxes(INSIDE, (98.0, 61.0, 150.0, bottom))[0].own == OWN
    assert boxes(INSIDE, (98.0, 58.0, 150.0, bottom))[0].own == (True, True, False, True)


@pytest.mark.parametrize(("left", "name"), [(90.0, "Car"), (86.0, "DontCare")])
def test_box_that_is_covered_by_more_than_two_fifths_is_a_region(left, name):
    # 13 and 17 of 40 columns, with the 3 that are too near.
    found = boxes(INSIDE, (left, 20.0, 150.0, 90.0))
    assert [item.class_name for item in found] == [name, "Car"]
    assert found[0].box == INSIDE


def test_parts_that_two_boxes_cover_count_once():
    cover = (90.0, 20.0, 150.0, 90.0)
    assert boxes(INSIDE, cover, cover)[0].class_name == "Car"
    other = (20.0, 20.0, 70.0, 90.0)
    assert boxes(INSIDE, cover, other)[0] == Box2D("DontCare", INSIDE, (False,) * 4)


def test_boxes_on_one_line_do_not_cover_each_other():
    beside = (65.0, 30.0, 105.0, 70.0)
    assert boxes(INSIDE, beside) == [Box2D("Car", INSIDE), Box2D("Car", beside)]


def test_regions_stay_regions():
    assert boxes(INSIDE, class_name="DontCare") == [Box2D("DontCare", INSIDE)]


def test_no_objects_are_no_boxes():
    assert boxes_of([], WIDTH, HEIGHT) == []
    assert mirrored_boxes([], WIDTH) == []
    assert seen_boxes([], AS_IT_IS, (0, 0, 9, 9)) == []


def test_mirror_swaps_left_and_right():
    item = Box2D("Cyclist", (10.0, 20.0, 40.0, 60.0), (True, False, False, True))
    mirrored = mirrored_boxes([item], WIDTH)
    assert mirrored == [Box2D("Cyclist", (159.0, 20.0, 189.0, 60.0), (False, False, True, True))]
    assert mirrored_boxes(mirrored, WIDTH) == [item]


def test_mirror_image_has_the_boxes_of_the_mirrored_labels():
    corners = [INSIDE, (85.0, 20.0, 150.0, 90.0), (0.0, 40.0, 30.0, 60.0)]
    turned = [(WIDTH - 1 - x1, y0, WIDTH - 1 - x0, y1) for x0, y0, x1, y1 in corners]
    assert mirrored_boxes(boxes(*corners), WIDTH) == boxes(*turned)


def test_boxes_are_scaled_and_shifted():
    affine = np.array([[0.5, 0, 7], [0, 2.0, -20]])
    own = (True, True, False, True)
    found = seen_boxes([Box2D("Car", INSIDE, own)], affine, (0, 0, 199, 199))
    assert found == [Box2D("Car", (37.0, 40.0, 57.0, 120.0), own)]


@pytest.mark.parametrize(
    ("window", "cut", "own"),
    [
        ((70, 0, 199, 99), (70.0, 30.0, 100.0, 70.0), (False, True, True, True)),
        ((0, 40, 199, 99), (60.0, 40.0, 100.0, 70.0), (True, False, True, True)),
        ((0, 0, 90, 99), (60.0, 30.0, 90.0, 70.0), (True, True, False, True)),
        ((0, 0, 199, 60), (60.0, 30.0, 100.0, 60.0), (True, True, True, False)),
        ((0, 0, 100, 70), INSIDE, OWN),
    ],
)
def test_edges_of_a_cut_are_not_own(window, cut, own):
    found = seen_boxes([Box2D("Car", INSIDE)], AS_IT_IS, window)
    assert found == [Box2D("Car", cut, own, left=area(cut) / area(INSIDE))]


def test_cut_gives_no_edge_back():
    item = Box2D("Car", INSIDE, (False, False, False, False))
    found = seen_boxes([item], AS_IT_IS, (70, 0, 199, 99))
    assert found[0].own == (False, False, False, False)


@pytest.mark.parametrize(("right", "name"), [(76, "Car"), (75.9, "DontCare"), (61, "DontCare")])
def test_box_of_which_a_cut_leaves_less_than_two_fifths_is_a_region(right, name):
    found = seen_boxes([Box2D("Car", INSIDE)], AS_IT_IS, (0, 0, right, 99))
    own = (True, True, False, True)
    left = pytest.approx((right - 60) / 40)
    assert found == [Box2D(name, (60.0, 30.0, right, 70.0), own, left)]


@pytest.mark.parametrize(("bottom", "name"), [(60, "Car"), (55, "DontCare")])
def test_cuts_one_after_the_other_count_together(bottom, name):
    """A panorama cuts a box, and then a view. Each cut alone would leave enough."""
    once = seen_boxes([Box2D("Car", INSIDE)], AS_IT_IS, (0, 0, 60 + 40 * 0.6, 99))
    assert once[0].class_name == "Car"
    zoom = np.array([[2.0, 0, 0], [0, 2.0, 0]])
    (twice,) = seen_boxes(mirrored_boxes(once, WIDTH), zoom, (0, 0, 400, 2 * bottom))
    assert twice.left == pytest.approx(0.6 * (bottom - 30) / 40)
    assert twice.class_name == name


@pytest.mark.parametrize(
    "window", [(100, 0, 199, 99), (0, 70, 199, 99), (0, 0, 60, 99), (120, 80, 199, 99)]
)
def test_boxes_outside_are_left_out(window):
    assert seen_boxes([Box2D("Car", INSIDE)], AS_IT_IS, window) == []
