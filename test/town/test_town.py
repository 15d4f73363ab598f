"""Town: what is labelled is what is seen, for every camera, and always the same."""

from collections import Counter
from dataclasses import replace
from itertools import combinations, pairwise, product

import cv2
import numpy as np
import pytest

from km3d_ros.data.class_names import DONT_CARE
from km3d_ros.data.kitti_labels import KittiObject
from km3d_ros.town import drive, render, sample_scene
from km3d_ros.town import palette as colors
from km3d_ros.town.meshes import Slot
from km3d_ros.town.ordering import painters_order
from km3d_ros.town.people import CYCLISTS, PEDESTRIANS, PHASES, cyclist, pedestrian
from km3d_ros.town.scene import Actor, Block, Scene
from km3d_ros.town.trucks import bus, truck
from km3d_ros.town.vehicles import CARS, VANS, VARIANTS, car

SIZE = (640, 192)
AHEAD = -np.pi / 2


def empty_scene() -> Scene:
    """A level road under a grey sky, seen by a camera 1.6 m above it, at (0, 0)."""
    scene = sample_scene(1, 0)
    view = replace(
        scene.view, x=0, z=0, heading=0, height=1.6, slope=0, bank=0, focal=0.8, shift=(0, 0)
    )
    light = replace(scene.light, sun_color=np.zeros(3), sky_color=np.full(3, 0.7), haze=0)
    film = replace(
        scene.film, gain=1, balance=(1, 1, 1), contrast=1, vignette=0, blur=0, motion=0, noise=0,
        jpeg=0,
    )  # fmt: skip
    return replace(
        scene, view=view, light=light, film=film, patches=[], blocks=[], trees=[], actors=[]
    )


def hatchback(x: float, z: float, yaw: float = AHEAD) -> Actor:
    style = CARS["hatchback"]
    paint = colors.vehicle(np.random.default_rng(0))
    return Actor("Car", car(style, 0), style.size, x, z, yaw, paint)


def corners(item: KittiObject) -> np.ndarray:
    """(8, 3) of a label's box."""
    length, width, height = item.size
    c, s = np.cos(item.yaw), np.sin(item.yaw)
    return np.array(
        [
            item.center + np.array([a * c + b * s, e, b * c - a * s])
            for a, b, e in product(
                (length / 2, -length / 2), (width / 2, -width / 2), (height / 2, -height / 2)
            )
        ]
    )


def extent(points: np.ndarray, projection: np.ndarray) -> np.ndarray:
    """x0, y0, x1, y1 of projected points (n, 3)."""
    pixels = points @ projection[:, :3].T
    pixels = pixels[:, :2] / pixels[:, 2:]
    return np.concatenate([pixels.min(0), pixels.max(0)])


def all_meshes():
    styles = [*CARS.values(), *VANS.values()]
    yield from (car(style, variant) for style in styles for variant in range(VARIANTS))
    yield from (make(variant) for variant in range(VARIANTS) for make in (truck, bus))
    yield from (pedestrian(k, phase) for k in range(PEDESTRIANS) for phase in range(PHASES))
    yield from (cyclist(k, phase) for k in range(CYCLISTS) for phase in range(PHASES))


def test_every_mesh_touches_its_box_on_all_six_sides():
    for mesh in all_meshes():
        half = mesh.size / 2
        points = mesh.points.reshape(-1, 3)
        np.testing.assert_allclose(points.min(0), [-half[0], -half[1], 0], atol=1e-6)
        np.testing.assert_allclose(points.max(0), [half[0], half[1], mesh.size[2]], atol=1e-6)


@pytest.mark.parametrize("yaw", [AHEAD, 0.0, 2.2, -0.7])
def test_painted_car_covers_the_pixels_of_its_mesh(yaw):
    actor = replace(hatchback(1.0, 12.0, yaw), palette=np.full((len(Slot), 3), 0.8))
    scene = replace(empty_scene(), ground=np.full(3, 0.05))
    alone, frame = render(scene), render(replace(scene, actors=[actor]))
    # A shadow only darkens; the car is bright.
    changed = (frame.image.astype(int) - alone.image).min(2) > 25
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    c, s = np.cos(yaw), np.sin(yaw)
    x, y, z = actor.mesh.points.reshape(-1, 3).T
    points = np.stack([actor.x + x * c + y * s, 1.6 - z, actor.z + y * c - x * s], axis=1)
    drawn = [columns[0], rows[0], columns[-1], rows[-1]]
    np.testing.assert_allclose(drawn, extent(points, frame.projection), atol=2.0)


def test_label_of_a_car_is_its_place_in_the_world():
    frame = render(replace(empty_scene(), actors=[hatchback(2.0, 15.0, yaw=0.4)]))
    (item,) = frame.objects
    assert (item.class_name, item.occlusion, item.truncation) == ("Car", 0, 0.0)
    assert item.size == CARS["hatchback"].size
    np.testing.assert_allclose(item.center, (2.0, 1.6 - item.size[2] / 2, 15.0), atol=1e-9)
    assert item.yaw == pytest.approx(0.4)
    assert item.alpha == pytest.approx(0.4 - np.arctan2(2.0, 15.0))
    np.testing.assert_allclose(item.box2d, extent(corners(item), frame.projection), atol=1e-6)


def test_boxes_are_those_of_the_projected_corners_in_every_scene():
    for index in range(6):
        frame = render(sample_scene(5, index), *SIZE)
        for item in frame.objects:
            points = corners(item)
            if item.class_name == DONT_CARE or points[:, 2].min() < 0.1:
                continue
            box = np.clip(extent(points, frame.projection), 0, [639, 191, 639, 191])
            np.testing.assert_allclose(item.box2d, box, atol=1e-6)


def test_truncation_is_the_part_of_the_box_outside_the_image():
    # 0.8 * 1280 px / 10 m: the image ends 6.25 m to the right at 10 m ahead.
    frame = render(replace(empty_scene(), actors=[hatchback(6.2, 12.0)]))
    (item,) = frame.objects
    box = extent(corners(item), frame.projection)
    outside = (box[2] - 1279) / (box[2] - box[0])
    assert 0.05 < outside < 0.9
    assert item.truncation == pytest.approx(outside)


def test_a_car_that_crosses_the_image_plane_keeps_a_finite_box():
    frame = render(replace(empty_scene(), actors=[hatchback(1.9, 2.1)]))
    (item,) = frame.objects
    assert item.class_name == "Car"
    assert item.truncation > 0.5
    assert 0 <= item.box2d[0] < item.box2d[2] <= 1279
    assert 0 <= item.box2d[1] < item.box2d[3] <= 383


def test_objects_are_labelled_by_what_is_seen_of_them():
    def levels(shift: float) -> list[tuple[str, int]]:
        actors = [hatchback(0.0, 10.0), hatchback(shift, 16.0)]
        items = render(replace(empty_scene(), actors=actors)).objects
        return [(item.class_name, item.occlusion) for item in items]

    assert levels(4.0) == [("Car", 0), ("Car", 0)]
    assert levels(1.6) == [("Car", 0), ("Car", 1)]
    assert levels(1.0) == [("Car", 0), ("Car", 2)]


def test_what_cannot_be_seen_is_no_object():
    grey = np.full(3, 0.4)
    block = Block(0, 20, 0, (12, 2), 9.0, "shop", texture=0, tint=grey, roof=0, roof_color=grey)
    for actor in (hatchback(0, 30), hatchback(40, 10), hatchback(0, -10)):
        assert render(replace(empty_scene(), blocks=[block], actors=[actor])).objects == []


def test_far_and_hardly_visible_cars_are_dont_care():
    actors = [hatchback(3.0, 90.0), hatchback(0.0, 8.0), hatchback(0.3, 13.5)]
    items = render(replace(empty_scene(), actors=actors)).objects
    assert [item.class_name for item in items] == [DONT_CARE, "Car", DONT_CARE]
    assert items[0].size == (-1, -1, -1)


def test_an_empty_street_has_no_labels():
    frame = render(empty_scene(), *SIZE)
    assert frame.objects == []
    assert frame.image.shape == (192, 640, 3)


def test_one_seed_gives_one_picture():
    first, again = render(sample_scene(3, 7), *SIZE), render(sample_scene(3, 7), *SIZE)
    np.testing.assert_array_equal(first.image, again.image)
    assert first.objects == again.objects
    other = render(sample_scene(3, 8), *SIZE)
    assert np.abs(first.image.astype(int) - other.image).mean() > 5


def test_a_scene_is_the_same_whatever_the_focal_length():
    scene = sample_scene(3, 2)
    wide, long = render(scene, focal=0.6), render(scene, focal=1.0)
    assert wide.projection[0, 0] == pytest.approx(0.6 * 1280)
    assert long.projection[1, 1] == pytest.approx(1280)
    assert wide.projection[0, 2] == long.projection[0, 2]

    def poses(frame):
        return {(item.center, item.size, item.yaw) for item in frame.objects}

    both = poses(wide) & poses(long)
    assert len(both) >= 3
    assert poses(long) - poses(wide) <= {item for item in poses(long) if item[0][2] > 20}


def test_objects_never_intersect():
    for index in range(25):
        actors = [a for a in sample_scene(9, index).actors if a.class_name]
        rectangles = [((a.x, a.z), (a.size[0], a.size[1]), -np.degrees(a.yaw)) for a in actors]
        for one, two in combinations(rectangles, 2):
            assert cv2.rotatedRectangleIntersection(one, two)[0] == cv2.INTERSECT_NONE


def test_car_sizes_are_those_of_the_road_and_follow_the_style():
    by_mesh: dict[int, list] = {}
    sizes = []
    for index in range(150):
        for actor in sample_scene(21, index).actors:
            if actor.class_name == "Car":
                sizes.append(actor.size)
                by_mesh.setdefault(id(actor.mesh), []).append(actor.size / actor.mesh.size)
    mean, spread = np.mean(sizes, 0), np.std(sizes, 0)
    np.testing.assert_allclose(mean, (3.88, 1.63, 1.53), rtol=0.015)
    np.testing.assert_allclose(spread, (0.42, 0.10, 0.13), rtol=0.12)
    residual = np.concatenate(list(by_mesh.values()))
    assert 0.016 < residual.std() < 0.024


def test_frames_have_the_promised_variety():
    frames = [render(sample_scene(17, index), 320, 96) for index in range(80)]
    cars = [item for f in frames for item in f.objects if item.class_name == "Car"]
    assert 6 < len(cars) / len(frames) < 10.5
    hard = np.mean([item.occlusion > 0 or item.truncation > 0.15 for item in cars])
    assert 0.4 < hard < 0.7
    count = Counter(item.class_name for f in frames for item in f.objects)
    assert 1.8 < count["Pedestrian"] / len(frames) < 3.2
    assert 1.0 < count["Cyclist"] / len(frames) < 2.0
    depth = np.array([item.center[2] for item in cars])
    assert depth.min() < 6
    assert 60 < depth.max() <= 75
    focal = np.array([f.projection[0, 0] / 320 for f in frames])
    assert 0.5 <= focal.min() < 0.6
    assert 0.95 < focal.max() <= 1.1
    classes = {item.class_name for f in frames for item in f.objects}
    assert classes == {"Car", "Van", "Truck", "Bus", "Pedestrian", "Cyclist", DONT_CARE}


def test_painting_goes_from_back_to_front_beside_a_long_truck():
    # x, z, half length, half width, yaw: somebody beyond a truck, nearer than the truck's centre.
    truck_box, walker = (2.0, 20.0, 8.0, 1.2, AHEAD), (4.0, 19.0, 0.3, 0.3, 0.0)
    nearest = (1.0, 6.0, 2.0, 0.8, AHEAD)
    order = painters_order(np.array([walker, nearest, truck_box]))
    assert order == [0, 2, 1]


def test_a_drive_moves_everybody_smoothly_and_keeps_their_looks():
    frames = list(drive(4, 6, width=320, height=96))
    assert {f.projection[0, 0] for f in frames} == {0.75 * 320}
    for before, after in pairwise(frames):
        now = {item.size: item for item in after.objects if item.class_name == "Car"}
        steps = [
            abs(np.linalg.norm(now[item.size].center) - np.linalg.norm(item.center))
            for item in before.objects
            if item.class_name == "Car" and item.size in now
        ]
        assert len(steps) >= 3
        # Nobody approaches faster than 16.3 m/s: 1.63 m in 0.1 s.
        assert max(steps) < 1.63
    near = [item for item in frames[0].objects if item.class_name == "Car"]
    assert sum(8 < item.center[2] < 30 and item.occlusion == 0 for item in near) >= 2


def test_on_a_drive_the_street_bends_and_drivers_accelerate():
    scenes = [frame.scene for frame in drive(4, 40, width=320, height=96)]
    poses = np.array([[(a.x, a.z, a.yaw) for a in s.actors if a.class_name] for s in scenes])
    steps = np.diff(poses[..., :2], axis=0) * 10
    speeds = np.linalg.norm(steps, axis=-1)
    assert (speeds.max(0) == 0).sum() >= 5
    driven = speeds.mean(0) > 5
    assert driven.sum() >= 5
    accelerations = np.abs(np.diff(speeds[:, driven], axis=0)) * 10
    assert 0.8 < accelerations.max() < 1.05
    # Their fronts point where they go: yaw is counted from x, clockwise.
    course = np.arctan2(steps[..., 0], steps[..., 1]) - np.pi / 2
    turn = course[:, driven] - poses[1:, driven, 2]
    assert np.abs((turn + np.pi) % (2 * np.pi) - np.pi).max() < 0.01
    # The camera turns with the street, by its curvature times the way.
    headings = np.array([scene.view.heading for scene in scenes])
    assert abs(headings[-1] - headings[0]) > 0.05
    camera = np.diff([(scene.view.x, scene.view.z) for scene in scenes], axis=0)
    along = np.arctan2(camera[:, 0], camera[:, 1])
    np.testing.assert_allclose(np.diff(along), np.diff(headings)[1:], atol=1e-6)


def test_a_camera_that_turns_keeps_its_place_on_the_slope():
    view = replace(sample_scene(3, 0).view, x=3.0, z=20.0, slope=0.03, bank=-0.01)
    right = view.turned(0.4)
    assert right.heading == view.heading + 0.4
    np.testing.assert_allclose(right.place[:3], view.place[:3])


def test_drives_of_one_seed_are_equal():
    first, again = (list(drive(2, 2, width=320, height=96)) for _ in range(2))
    np.testing.assert_array_equal(first[1].image, again[1].image)
