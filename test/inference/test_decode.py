import json
import math
from dataclasses import fields, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from km3d_ros.geometry.box3d import Boxes3D, keypoints, observation_angle
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.geometry.orientation import corner_offsets
from km3d_ros.geometry.pinhole import Pinholes
from km3d_ros.geometry.virtual_camera import virtual_camera
from km3d_ros.inference.decode import (
    Objects,
    Peaks,
    covariance,
    decode,
    find_peaks,
    locate,
    pack,
    without_duplicates,
)
from km3d_ros.inference.detections import Detections, in_camera, unpack
from km3d_ros.inference.options import GRM
from km3d_ros.network.spec import HEAD_CHANNELS, STRIDE, TYPICAL_DEPTH_ERROR, ModelSpec, Noise

PUBLISHED = json.loads((Path(__file__).parent / "published_objects.json").read_text())
"""What the published decoding makes of `published_maps`, its best 20 objects in order."""

SPEC = ModelSpec("lite", input_size=(64, 160))
CAMERA = CameraModel.from_projection(
    [[90, 0, 74, 4.5], [0, 90, 29, 0.3], [0, 0, 1, 0.003]], width=150, height=60
)
SCALE = virtual_camera(CAMERA, SPEC.input_size).scale
INPUT = (384, 1280)


def published_maps() -> dict[str, torch.Tensor]:
    """Pseudo-random head maps (1, channels, 16, 40) of boxes like a car's at 6 m."""
    random = np.random.RandomState(0)

    def uniform(low, high, channels):
        return random.uniform(low, high, (1, channels, 16, 40))

    car = Boxes3D(torch.tensor([0, 0, 6.0]), torch.tensor([3.9, 1.6, 1.5]), torch.tensor(-1.1))
    points = keypoints(car)
    corners = (points[:, :2] / points[:, 2:]).numpy() * CAMERA.fx * SCALE / STRIDE
    hps = corners.reshape(1, 18, 1, 1) + uniform(-0.4, 0.4, 18)
    dim = np.reshape([1.5, 1.6, 3.9], (1, 3, 1, 1)) + uniform(-0.2, 0.2, 3)
    # Where the published code and ours agree by design: its bin compares the "in" logits alone,
    # its atan takes the cosine as positive.
    first, second = uniform(-1, 1, 1), uniform(-2, 0, 1)
    sine, cosine = uniform(0.2, 0.6, 2), uniform(0.6, 1, 2)
    bins = [
        (-inside, inside, sine[:, i : i + 1], cosine[:, i : i + 1])
        for i, inside in enumerate((first, second))
    ]
    rot = np.concatenate([*bins[0], *bins[1]], axis=1)
    maps = {"hm": uniform(-5, 2, 3), "hps": hps, "dim": dim, "rot": rot, "prob": uniform(-2, 2, 1)}
    return {name: torch.tensor(values, dtype=torch.float32) for name, values in maps.items()}


def at_peaks(maps: dict[str, torch.Tensor], peaks: Peaks) -> dict[str, torch.Tensor]:
    image = torch.arange(len(peaks.x))[:, None]
    return {name: values[image, :, peaks.y, peaks.x] for name, values in maps.items()}


def decode_maps(maps: dict[str, torch.Tensor], count: int, spec: ModelSpec = SPEC) -> Objects:
    peaks = find_peaks(maps["hm"], count)
    return decode(peaks, at_peaks(maps, peaks), spec)


def seen_boxes(boxes: Boxes3D, camera: CameraModel) -> Objects:
    """The objects that a network without any error would see.

    boxes: as of `Detections`, the centres in the frame of the camera and yaw in the level frame.
    """
    view = virtual_camera(camera, INPUT)
    level = torch.from_numpy(camera.level)
    upright = replace(boxes, center=boxes.center @ level.T)
    on_input = Pinholes(torch.from_numpy(view.projection)).project(keypoints(upright)).float()
    shift = upright.center + level @ torch.from_numpy(camera.translation)
    ones = torch.ones(len(boxes.yaw))
    return Objects(
        class_index=torch.zeros(len(boxes.yaw), dtype=torch.int64),
        peak_score=ones,
        confidence=ones,
        depth_error=ones * TYPICAL_DEPTH_ERROR,
        keypoints=on_input,
        box2d=torch.cat((on_input.amin(-2), on_input.amax(-2)), dim=-1),
        size=boxes.size.float(),
        alpha=observation_angle(boxes.yaw, shift[:, 0] / shift[:, 2]).float(),
    )


def located(
    objects: Objects,
    camera: CameraModel,
    method: str = "consistent",
    noise: Noise | None = None,
    input_size: tuple[int, int] = INPUT,
) -> Detections:
    """The objects in the frame of their camera, as a detector gives them."""
    view = virtual_camera(camera, input_size)
    pinhole = Pinholes(torch.from_numpy(view.projection).float())
    found = locate(objects, pinhole, noise or Noise())[GRM.index(method)]
    return in_camera(unpack(pack(found).numpy()), view)


def assert_same(a: Objects | Detections, b: Objects | Detections) -> None:
    for column in fields(a):
        torch.testing.assert_close(
            getattr(a, column.name), getattr(b, column.name), rtol=1e-5, atol=1e-6
        )


def test_decoding_equals_the_published_one():
    objects = decode_maps(published_maps(), len(PUBLISHED["peak_score"]))[0]
    found = located(objects, CAMERA, "published", input_size=SPEC.input_size)
    expected = {name: torch.tensor(values) for name, values in PUBLISHED.items()}
    assert found.class_index.tolist() == PUBLISHED["class_index"]
    tolerances = {"peak_score": 1e-6, "keypoints": 1e-4, "size": 1e-6, "yaw": 5e-6, "center": 1e-3}
    for name, tolerance in tolerances.items():
        np.testing.assert_allclose(getattr(found, name), expected[name], rtol=0, atol=tolerance)


def test_peaks_are_local_maxima_over_all_classes_by_score():
    logits = torch.full((1, 2, 8, 8), -9.0)
    logits[0, 0, 2, 3], logits[0, 0, 2, 4] = 1.0, 0.5  # the second is beside a higher one
    logits[0, 1, 2, 4], logits[0, 1, 7, 0] = 2.0, 0.0
    peaks = find_peaks(logits, 3)
    assert peaks.class_index.tolist() == [[1, 0, 1]]
    assert (peaks.x.tolist(), peaks.y.tolist()) == ([[4, 3, 0]], [[2, 2, 7]])
    torch.testing.assert_close(peaks.score, torch.tensor([[2.0, 1.0, 0.0]]).sigmoid())


def test_equal_neighbours_are_one_peak():
    logits = torch.full((1, 1, 6, 8), -5.0)
    logits[0, 0, 2:4, 3:6] = 2.0
    logits[0, 0, 0, 0] = logits[0, 0, 0, 1] = 1.0
    peaks = find_peaks(logits, 4)
    cells = torch.stack((peaks.y, peaks.x), -1)[0][peaks.score[0] > 0.5]
    assert cells.tolist() == [[2, 3], [0, 0]]


def test_cells_that_are_not_finite_are_no_peaks_and_hide_none():
    logits = torch.full((1, 1, 8, 8), -9.0)
    logits[0, 0, 4, 4] = 1.0
    logits[0, 0, 4, 5], logits[0, 0, 3, 3], logits[0, 0, 0, 0] = math.nan, math.inf, -math.inf
    peaks = find_peaks(logits, 1)
    assert (peaks.x.item(), peaks.y.item()) == (4, 4)


def test_a_flat_heatmap_of_few_cells_gives_as_many_objects_as_it_has():
    assert find_peaks(torch.zeros(2, 3, 2, 2), 100).score.shape == (2, 12)


def test_a_batch_decodes_as_its_images_do_alone():
    first = published_maps()
    second = {name: values.flip(-1) for name, values in first.items()}
    both = {name: torch.cat((first[name], second[name])) for name in first}
    together = decode_maps(both, 30)
    assert_same(together[0], decode_maps(first, 30)[0])
    assert_same(together[1], decode_maps(second, 30)[0])


def test_sizes_are_coded_by_class_where_the_spec_says_so():
    spec = replace(
        SPEC,
        dimension_mean=((1.5, 1.6, 3.9), (1.7, 0.6, 0.8), (1.7, 0.6, 1.8)),
        dimension_spread=((0.1, 0.1, 0.1), (0.2, 0.2, 0.2), (0.3, 0.3, 0.3)),
    )
    peaks = Peaks(torch.ones(1, 2), torch.tensor([[0, 2]]), *torch.zeros(2, 1, 2).long())
    heads = {"hps": torch.zeros(1, 2, 18), "prob": torch.zeros(1, 2, 1)}
    heads |= {"rot": torch.ones(1, 2, 8), "dim": torch.tensor([[[0.0, 1.0, -1.0]] * 2])}
    size = decode(peaks, heads, spec).size[0]
    car = [3.9 * math.exp(-0.1), 1.6 * math.exp(0.1), 1.5]
    cyclist = [1.8 * math.exp(-0.3), 0.6 * math.exp(0.3), 1.7]
    torch.testing.assert_close(size, torch.tensor([car, cyclist]))


@pytest.mark.parametrize("alpha", [-3.1, -2.0, -0.5, 0.0, 1.0, 1.6, 3.1])
@pytest.mark.parametrize("center", [-math.pi / 2, math.pi / 2])
def test_every_angle_decodes_from_either_bin(alpha, center):
    chosen = [0.5, 0.6, math.sin(alpha - center), math.cos(alpha - center)]
    other = [-9.0, -9.0, 0.0, 1.0]  # unlikelier than the chosen bin only by their difference
    values = torch.tensor([*chosen, *other] if center < 0 else [*other, *chosen])
    peaks = Peaks(torch.ones(1, 1), *torch.zeros(3, 1, 1).long())
    heads = {"hps": torch.zeros(1, 1, 18), "prob": torch.zeros(1, 1, 1)}
    heads |= {"rot": values[None, None], "dim": torch.ones(1, 1, 3)}
    assert decode(peaks, heads, SPEC).alpha.item() == pytest.approx(alpha, abs=1e-6)


def boxes() -> Boxes3D:
    return Boxes3D(
        center=torch.tensor([[-2.0, 1.0, 12.0], [3.0, 0.5, 30.0], [0.2, 1.2, 60.0]]).double(),
        size=torch.tensor([[3.9, 1.6, 1.5], [1.8, 0.6, 1.7], [4.2, 1.7, 1.6]]).double(),
        yaw=torch.tensor([-1.5, 0.3, 2.8]).double(),
    )


RECTIFIED = CameraModel.from_projection(
    [[700, 0, 600, 45], [0, 720, 180, 0.2], [0, 0, 1, 0.003]], 1242, 375
)
RAW = CameraModel.from_intrinsics(
    [[700, 0, 600], [0, 720, 180], [0, 0, 1]], 1242, 375, (-0.3, 0.1, 1e-3, -1e-3), "plumb_bob"
)


TURNED = cv2.Rodrigues(np.array([-0.15, 0.0, 0.08]))[0]
CAMERAS = {
    "rectified": RECTIFIED,
    "raw": RAW,
    "tilted": replace(RECTIFIED, level=TURNED),
    "tilted and raw": replace(RAW, level=TURNED, translation=np.array([-0.3, 0.02, 0.01])),
}


@pytest.mark.parametrize("camera", CAMERAS.values(), ids=CAMERAS)
def test_boxes_are_found_where_they_were_seen(camera):
    truth = boxes()
    found = located(seen_boxes(truth, camera), camera)
    np.testing.assert_allclose(found.center, truth.center, rtol=2e-4, atol=1e-4)
    np.testing.assert_allclose(found.yaw, truth.yaw, rtol=0, atol=1e-5)
    corners = corner_offsets(truth.size, truth.yaw, camera.level) + truth.center.numpy()[:, None]
    pixels = camera.project(corners)
    np.testing.assert_allclose(found.keypoints[:, :8], pixels, rtol=0, atol=2e-3)
    np.testing.assert_allclose(
        found.keypoints[:, 8], camera.project(truth.center), rtol=0, atol=2e-3
    )
    assert found.reprojection_error.max() < 1e-2


def test_published_positions_stay_in_the_frame_of_k():
    truth = boxes()
    found = located(seen_boxes(truth, RECTIFIED), RECTIFIED, "published")
    expected = truth.center.numpy() + RECTIFIED.translation
    np.testing.assert_allclose(found.center, expected, rtol=1e-4)
    assert found.reprojection_error.max() < 1e-2


def test_covariance_of_a_tilted_camera_is_that_of_the_level_one_turned():
    level, tilted = (
        located(
            seen_boxes(boxes(), replace(RECTIFIED, level=turn)), replace(RECTIFIED, level=turn)
        )
        for turn in (np.eye(3), TURNED)
    )
    assert not np.allclose(tilted.covariance, level.covariance, rtol=0.05)
    far = np.linalg.eigvalsh(tilted.covariance[:, :3, :3])[:, 2]
    rays = boxes().center.numpy() + RECTIFIED.translation
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    along = np.einsum("ni,nij,nj->n", rays, tilted.covariance[:, :3, :3], rays)
    np.testing.assert_allclose(along, far, rtol=0.02)
    np.testing.assert_allclose(tilted.covariance[:, 3, 3], level.covariance[:, 3, 3])


def test_the_reprojection_error_is_in_image_pixels():
    objects = seen_boxes(boxes(), RECTIFIED)
    noise = torch.randn(9, 2, generator=torch.Generator().manual_seed(0))
    noisy = replace(objects, keypoints=objects.keypoints + 2 * noise)
    found = located(noisy, RECTIFIED)
    points = keypoints(Boxes3D(*map(torch.from_numpy, (found.center, found.size, found.yaw))))
    distance = np.linalg.norm(RECTIFIED.project(points) - found.keypoints, axis=-1)
    expected = np.sqrt((distance**2).mean(-1))
    np.testing.assert_allclose(found.reprojection_error, expected, rtol=1e-3)
    assert 0.5 < found.reprojection_error.min() < found.reprojection_error.max() < 4


def test_the_2d_box_is_clipped_to_the_image():
    objects = seen_boxes(boxes(), RECTIFIED)
    corners = torch.tensor([[-50.0, 20.0], [90.0, 500.0]])
    on_input = torch.from_numpy(virtual_camera(RECTIFIED, INPUT).from_camera(corners.numpy()))
    moved = replace(objects, box2d=on_input.float().flatten().expand(3, 4))
    found = located(moved, RECTIFIED)
    np.testing.assert_allclose(found.box2d[0], [0, 20, 90, 374], atol=1e-3)


def test_without_a_head_of_2d_boxes_they_are_the_extent_of_the_corners():
    maps = published_maps()
    objects = decode_maps(maps, 5)
    corners = objects.keypoints[..., :8, :]
    expected = torch.cat((corners.amin(-2), corners.amax(-2)), dim=-1)
    torch.testing.assert_close(objects.box2d, expected)


def test_the_heads_of_2d_boxes_give_them_in_pixels_of_the_input():
    peaks = Peaks(*(torch.tensor([[v]]) for v in (0.9, 0, 10, 20)))
    heads = {name: torch.zeros(1, 1, width) for name, width in HEAD_CHANNELS.items()}
    heads |= {"reg": torch.tensor([[[0.5, 0.25]]]), "wh": torch.tensor([[[6.0, 4.0]]])}
    objects = decode(peaks, heads, SPEC)
    assert objects.box2d.tolist() == [[[30.0, 73.0, 54.0, 89.0]]]


def objects_with(box2d: list, score: list, class_index: list) -> Objects:
    seen = seen_boxes(boxes(), RECTIFIED)
    return replace(
        seen,
        box2d=torch.tensor(box2d),
        peak_score=torch.tensor(score),
        class_index=torch.tensor(class_index),
    )


def test_of_two_peaks_on_one_object_the_better_one_stays():
    first, second, third = [0.0, 0, 100, 100], [20.0, 0, 100, 100], [50.0, 0, 150, 100]
    objects = objects_with([first, second, third], [0.5, 0.9, 0.4], [0, 0, 0])
    batch = Objects(**{f.name: getattr(objects, f.name)[None] for f in fields(objects)})
    assert without_duplicates(batch).peak_score.tolist() == [pytest.approx([0, 0.9, 0.4])]


def test_objects_of_two_classes_are_not_one():
    box = [0.0, 0, 100, 100]
    objects = objects_with([box] * 3, [0.5, 0.9, 0.4], [0, 1, 2])
    batch = Objects(**{f.name: getattr(objects, f.name)[None] for f in fields(objects)})
    assert without_duplicates(batch).peak_score.tolist() == [pytest.approx([0.5, 0.9, 0.4])]


def test_the_covariance_has_a_cause_for_every_noise():
    objects = seen_boxes(boxes(), RECTIFIED)
    none = Noise(sideways=0, upright=0, size=0, yaw=0)

    def deviations(**noise):
        found = located(objects, RECTIFIED, noise=replace(none, **noise))
        return np.sqrt(found.covariance.diagonal(axis1=-2, axis2=-1))

    center = boxes().center.float() + torch.from_numpy(RECTIFIED.translation).float()
    height = boxes().size[:, 2]
    zero = torch.zeros(3)
    for noise, expected in (
        ({"sideways": 0.1}, (0.1 * height, zero, zero, zero)),
        ({"upright": 0.1}, (zero, 0.1 * height, zero, zero)),
        ({"size": 0.1}, (*(0.1 * center.abs()).unbind(-1), zero)),
        ({"yaw": 0.1}, (zero, zero, zero, zero + 0.1)),
    ):
        expected = torch.stack([part.float() for part in expected], dim=-1)
        np.testing.assert_allclose(deviations(**noise), expected, rtol=1e-3, atol=1e-5)


def test_all_deviations_grow_with_a_power_of_the_expected_depth_error():
    objects = seen_boxes(boxes(), RECTIFIED)
    doubted = replace(objects, depth_error=objects.depth_error * torch.tensor([1.0, 0.5, 4.0]))
    sure, unsure = (
        located(seen, RECTIFIED, noise=Noise(power=1.5)).covariance for seen in (objects, doubted)
    )
    expected = torch.tensor([1, 0.5**3, 4.0**3])[:, None, None]
    np.testing.assert_allclose(unsure, sure * expected.numpy(), rtol=1e-4)


def test_the_depth_error_is_what_its_head_says_as_a_logarithm():
    maps = published_maps()
    maps["depth_error"] = torch.full_like(maps["prob"], math.log(2))
    found = decode_maps(maps, 5).depth_error
    torch.testing.assert_close(found, torch.full((1, 5), 2 * TYPICAL_DEPTH_ERROR))
    for said, least in ((200.0, 10 * TYPICAL_DEPTH_ERROR), (-200.0, 0.1 * TYPICAL_DEPTH_ERROR)):
        maps["depth_error"] = torch.full_like(maps["prob"], said)
        torch.testing.assert_close(decode_maps(maps, 5).depth_error, torch.full((1, 5), least))


def test_without_such_a_head_the_score_tells_the_depth_error():
    found = decode_maps(published_maps(), 5)
    score = found.peak_score * found.confidence
    # A score of 1/3 is that of a box that is half its length beside the true one.
    shift = (1 - score) / (1 + score)
    torch.testing.assert_close(found.depth_error, shift / 0.5 * TYPICAL_DEPTH_ERROR)


@pytest.mark.parametrize("noise", [Noise(), Noise(power=-3)])
def test_the_covariance_is_positive_definite_whatever_the_network_says(noise):
    count, rng = 5000, torch.Generator().manual_seed(0)

    def values(low, high, *shape):
        return low + (high - low) * torch.rand(count, *shape, generator=rng)

    center = torch.cat((values(-1, 1, 2), torch.ones(count, 1)), dim=1) * 10 ** values(-3, 5, 1)
    size = values(-2, 2, 3) * 10 ** values(-3, 2, 1)
    depth_error = TYPICAL_DEPTH_ERROR * 10 ** values(-1, 1)
    found = covariance(center, size, depth_error, noise)
    assert found.isfinite().all()
    torch.testing.assert_close(found, found.mT)
    # With one unit for every row: in metres, 100 km and a centimetre do not fit into float32.
    scale = found.diagonal(dim1=-2, dim2=-1).double().rsqrt()
    torch.linalg.cholesky(found.double() * scale[:, :, None] * scale[:, None, :])
    behind = covariance(-center, size, depth_error, noise)
    torch.testing.assert_close(behind, found)


def test_only_the_object_with_a_number_that_is_not_finite_is_lost():
    objects = seen_boxes(boxes(), RECTIFIED)
    clean = located(objects, RECTIFIED)
    broken = objects.keypoints.clone()
    broken[1] = math.nan
    found = located(replace(objects, keypoints=broken), RECTIFIED)
    assert np.isfinite(found.center).all(-1).tolist() == [True, False, True]
    kept = [0, 2]
    assert_same(found[kept], clean[kept])


def test_an_object_behind_the_camera_has_no_consistent_position():
    objects = seen_boxes(boxes(), RECTIFIED)
    mirrored = replace(objects, keypoints=2 * objects.keypoints[:, 8:] - objects.keypoints)
    found = located(mirrored, RECTIFIED)
    assert np.isnan(found.center).all()
    released = located(mirrored, RECTIFIED, "published")
    assert (released.center[:, 2] < 0).all()
