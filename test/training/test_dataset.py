import pickle
from dataclasses import fields, is_dataclass, replace

import cv2
import numpy as np
import pytest
import torch
from support.frames import car, write_frames

from km3d_ros.data.kitti import KittiDataset, KittiFrame
from km3d_ros.errors import InputError
from km3d_ros.geometry import grm
from km3d_ros.geometry.box3d import keypoint_offsets
from km3d_ros.geometry.camera import CameraModel, unproject
from km3d_ros.training.dataset import (
    CONSENSUS_PEAKS,
    Labelled,
    Pairs,
    Sources,
    TrainingViews,
    collate,
)
from km3d_ros.training.method import Method
from km3d_ros.training.order import Key, Kind
from km3d_ros.training.start import new_spec

SPEC = new_spec("lite", (64, 160))
BGR = replace(SPEC, channel_order="bgr")
PROJECTION = np.array([[200.0, 0, 120, 9], [0, 190, 60, 0.4], [0, 0, 1, 0.003]])
CAMERA = CameraModel.from_projection(PROJECTION, 256, 128)
SPOT = np.array([137, 71])
SIDE = 9


@pytest.fixture(scope="module")
def spots(tmp_path_factory) -> list[KittiFrame]:
    """A frame with nothing but a spot, at the middle of a car and of its 2D box."""
    path = tmp_path_factory.mktemp("spot") / "000000.png"
    image = np.zeros((128, 256, 3), np.uint8)
    x0, y0 = SPOT - SIDE // 2
    image[y0 : y0 + SIDE, x0 : x0 + SIDE] = 150
    cv2.imwrite(str(path), image)
    ray = CAMERA.rays(torch.tensor(SPOT, dtype=torch.float64))
    center = torch.tensor([ray[0], ray[1], 1]) * 12 - CAMERA.translation
    x0, y0, x1, y1 = (*(SPOT - 20.0), *(SPOT + 20.0))
    item = car((x0, y0, x1, y1), center=tuple(center.tolist()), yaw=0.7)
    return [KittiFrame("000000", path, PROJECTION, [item])]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_frames(tmp_path_factory.mktemp("frames") / "town", 4)


def views(frames, method=Method(), spec=SPEC, seed=3) -> TrainingViews:  # noqa: B008
    return TrainingViews(Sources(frames, frames), spec, method, seed)


def tensors(sample) -> list[torch.Tensor]:
    if isinstance(sample, torch.Tensor):
        return [sample]
    if sample is None:
        return []
    assert is_dataclass(sample)
    return [t for f in fields(sample) for t in tensors(getattr(sample, f.name))]


def assert_same(one, other) -> None:
    for a, b in zip(tensors(one), tensors(other), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def spot_in(image: torch.Tensor) -> torch.Tensor:
    """Where the spot is seen, x and y in input pixels."""
    light = image.double().sum(0)
    light = light - light.median()
    rows, columns = torch.meshgrid(*(torch.arange(n) for n in light.shape), indexing="ij")
    return torch.stack([(light * n).sum() / light.sum() for n in (columns, rows)])


def test_labelled_views_show_the_objects_where_the_targets_say(spots):
    data = views(spots, Method(photometric=False))
    mirrored = []
    for epoch in range(12):
        sample = data[Key(Kind.LABELLED, epoch, 0)]
        objects = sample.targets.objects
        seen = spot_in(sample.images)
        cell = torch.stack((objects.x, objects.y), dim=-1)[0]
        torch.testing.assert_close(
            (cell + objects.box_center[0]).double() * 4, seen, atol=0.15, rtol=0
        )
        torch.testing.assert_close(
            (cell + objects.keypoints[0, 8]).double() * 4, seen, atol=0.15, rtol=0
        )
        mirrored.append(bool(objects.center[0, 0] < 0))
    assert 2 < sum(mirrored) < 10


@pytest.mark.parametrize("dropout", [0.0, 0.5, 1.0])
def test_labelled_views_lead_the_grm_back_to_the_label(spots, dropout):
    data = views(spots, Method(keypoint_dropout=dropout))
    item = spots[0].objects[0]
    truth = torch.tensor(item.center).float() + CAMERA.translation.float()
    for epoch in range(12):
        objects = data[Key(Kind.LABELLED, epoch, 0)].targets.objects
        cells = torch.stack((objects.x, objects.y), -1)[:, None] + objects.keypoints
        pixels = cells @ objects.to_image[:, :, :2].mT + objects.to_image[:, None, :, 2]
        rays = unproject(pixels, objects.intrinsics[:, None])
        offsets = keypoint_offsets(objects.size, objects.yaw)
        center = grm.solve(rays, offsets, objects.kept.float())[0]
        is_mirrored = torch.isclose(objects.yaw, torch.tensor(np.pi - item.yaw).float())
        expected = truth * torch.tensor([-1 if is_mirrored else 1, 1, 1])
        torch.testing.assert_close(center, expected, atol=5e-3, rtol=0)
        torch.testing.assert_close(objects.center[0], expected, atol=1e-5, rtol=0)


def test_pairs_lead_back_to_the_pixels_of_the_camera(spots):
    data = views(spots, Method(photometric=False))
    seen = set()
    for epoch in range(20):
        pair = data[Key(Kind.UNLABELLED, epoch, 0)]
        for i, is_mirrored in enumerate(pair.mirrored.tolist()):
            cell = spot_in(pair.images[i]) / 4
            for affine, expected in (
                (pair.to_original[i], SPOT),
                (pair.to_image[i], (255 - SPOT[0], SPOT[1]) if is_mirrored else SPOT),
            ):
                pixel = affine[:, :2].double() @ cell + affine[:, 2]
                np.testing.assert_allclose(pixel, expected, atol=0.25)
            cx = 255 - 120 if is_mirrored else 120
            assert pair.intrinsics[i].tolist() == [[200, 0, cx], [0, 190, 60], [0, 0, 1]]
        seen.add(tuple(pair.mirrored.tolist()))
        assert not torch.equal(pair.to_image[0], pair.to_image[1])
        assert not torch.equal(pair.kept[0], pair.kept[1])
    assert len(seen) == 4


def test_method_switches_mirror_and_dropout_off(spots):
    data = views(spots, Method(flip=False, keypoint_dropout=0.0))
    for epoch in range(8):
        pair = data[Key(Kind.UNLABELLED, epoch, 0)]
        assert not pair.mirrored.any()
        assert pair.kept.all()
        objects = data[Key(Kind.LABELLED, epoch, 0)].targets.objects
        assert objects.center[0, 0] > 0
        assert objects.kept.all()


def test_dropped_keypoints_stay_taught(spots):
    objects = views(spots, Method(keypoint_dropout=1.0))[Key(Kind.LABELLED, 0, 0)].targets.objects
    assert objects.kept.sum() == 2
    assert objects.keypoint_mask.all()


@pytest.mark.parametrize(("spec", "channel"), [(SPEC, 2), (BGR, 0)])
def test_images_have_the_channel_order_of_the_model(tmp_path, spec, channel):
    path = tmp_path / "blue.png"
    cv2.imwrite(str(path), np.full((128, 256, 3), (200, 40, 40), np.uint8))
    frames = [KittiFrame("blue", path, PROJECTION, [])]
    data = views(frames, Method(photometric=False), spec)
    for key in (Key(Kind.LABELLED, 0, 0), Key(Kind.UNLABELLED, 0, 0)):
        images = data[key].images
        assert images.dtype == torch.uint8
        assert images.shape[-3:] == (3, 64, 160)
        assert images[..., 32, 80].reshape(-1, 3).argmax(-1).unique().tolist() == [channel]


def test_item_of_a_key_is_always_the_same(folder):
    data, again = (views(KittiDataset(folder)) for _ in range(2))
    for key in (Key(Kind.LABELLED, 0, 1), Key(Kind.UNLABELLED, 0, 1)):
        sample = data[key]
        data[Key(Kind.LABELLED, 5, 0)]
        assert_same(sample, data[key])
        assert_same(sample, again[key])


def test_other_epochs_and_seeds_are_other_views(folder):
    frames = KittiDataset(folder)
    pictures = [
        views(frames)[Key(Kind.LABELLED, 0, 1)].images,
        views(frames)[Key(Kind.LABELLED, 1, 1)].images,
        views(frames, seed=4)[Key(Kind.LABELLED, 0, 1)].images,
        *views(frames)[Key(Kind.UNLABELLED, 0, 1)].images,
    ]
    for i, one in enumerate(pictures):
        assert not any(torch.equal(one, other) for other in pictures[:i])


def test_views_travel_to_loading_processes(folder):
    data = views(KittiDataset(folder))
    received = pickle.loads(pickle.dumps(data))
    for key in (Key(Kind.LABELLED, 2, 0), Key(Kind.UNLABELLED, 2, 0)):
        assert_same(received[key], data[key])
        assert_same(pickle.loads(pickle.dumps(data[key])), data[key])


def test_batch_joins_labelled_views_and_pairs(folder):
    data = views(KittiDataset(folder))
    keys = [
        Key(Kind.LABELLED, 0, 0),
        Key(Kind.UNLABELLED, 0, 0),
        Key(Kind.LABELLED, 0, 3),
        Key(Kind.LABELLED, 0, 1),
        Key(Kind.UNLABELLED, 0, 2),
    ]
    one, first, empty, other, second = samples = [data[key] for key in keys]
    batch = collate(samples)
    assert batch.labelled.images.shape == (3, 3, 64, 160)
    assert_same(batch.labelled.images[2], other.images)
    assert batch.labelled.targets.heatmap.shape == (3, 3, 16, 40)
    assert batch.labelled.targets.keypoint_heatmap.shape == (3, 9, 16, 40)
    assert len(empty.targets.objects) == 0
    counts = [len(sample.targets.objects) for sample in (one, empty, other)]
    assert batch.labelled.targets.objects.batch.bincount(minlength=3).tolist() == counts
    # The first views, then the second ones.
    for field in fields(Pairs):
        joined = getattr(batch.pairs, field.name)
        assert len(joined) == 4
        expected = [getattr(pair, field.name)[i] for i in range(2) for pair in (first, second)]
        assert_same(joined, torch.stack(expected))
    assert batch.pairs.kept.shape == (4, CONSENSUS_PEAKS, 9)
    assert collate([one, other]).pairs is None


def test_batch_moves_to_a_device_as_a_whole(folder):
    data = views(KittiDataset(folder))
    batch = collate([data[Key(Kind.LABELLED, 0, 0)], data[Key(Kind.UNLABELLED, 0, 0)]])
    moved = batch.to(torch.device("meta"))
    assert {t.device.type for t in tensors(moved)} == {"meta"}
    assert len(tensors(moved)) == len(tensors(batch))
    assert collate([data[Key(Kind.LABELLED, 0, 0)]]).to(torch.device("meta")).pairs is None


def test_what_is_wrong_with_a_frame_comes_back_as_the_batch(folder, tmp_path):
    frame = KittiDataset(folder)[0]
    corrupt = tmp_path / "corrupt.png"
    corrupt.write_bytes(frame.image_path.read_bytes()[:200])
    uncalibrated = np.zeros((3, 4))
    data = views(
        [frame, replace(frame, image_path=corrupt), replace(frame, projection=uncalibrated)]
    )
    for index, cause in ((1, "corrupt.png"), (2, "focal")):
        for kind in (Kind.LABELLED, Kind.UNLABELLED):
            error = data[Key(kind, 0, index)]
            assert isinstance(error, InputError)
            assert cause in str(error)
            assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert isinstance(data[Key(Kind.LABELLED, 0, 0)], Labelled)
    assert (
        collate(
            [
                data[Key(Kind.LABELLED, 0, 0)],
                data[Key(Kind.UNLABELLED, 0, 1)],
                data[Key(Kind.LABELLED, 0, 2)],
            ]
        )
        .args[0]
        .startswith(str(corrupt))
    )


def test_label_that_cannot_be_read_names_its_file(tmp_path):
    root = write_frames(tmp_path / "town", 2)
    label = root / "label_2" / "000000.txt"
    label.write_text("Car 0 0\n")
    error = views(KittiDataset(root))[Key(Kind.LABELLED, 0, 0)]
    assert isinstance(error, InputError)
    assert str(label) in str(error)
