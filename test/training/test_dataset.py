import pickle
from dataclasses import fields, is_dataclass, replace

import cv2
import numpy as np
import pytest
import torch
from support.frames import car, write_frames

from km3d_ros.data.boxes import open_boxes
from km3d_ros.data.calibration import write_calibration, write_ros_calibration
from km3d_ros.data.kitti import Frame, KittiDataset
from km3d_ros.data.kitti_labels import write_objects
from km3d_ros.data.level_view import level_projection, level_view
from km3d_ros.errors import InputError
from km3d_ros.geometry import grm
from km3d_ros.geometry.box3d import keypoint_offsets
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.geometry.level import level_from_angles
from km3d_ros.geometry.orientation import corner_offsets
from km3d_ros.geometry.pinhole import unproject
from km3d_ros.training.dataset import (
    CONSENSUS_PEAKS,
    Boxed,
    Interleaved,
    Labelled,
    Pairs,
    Sources,
    TrainingViews,
    collate,
)
from km3d_ros.training.initial_weights import new_spec
from km3d_ros.training.sampler import Key, Kind
from km3d_ros.training.settings import Method

SPEC = new_spec("lite", (64, 160))
BGR = replace(SPEC, channel_order="bgr")
PROJECTION = np.array([[200.0, 0, 120, 9], [0, 190, 60, 0.4], [0, 0, 1, 0.003]])
CAMERA = CameraModel.from_projection(PROJECTION, 256, 128)
SPOT = np.array([137, 71])
SIDE = 9


@pytest.fixture(scope="module")
def spots(tmp_path_factory) -> list[Frame]:
    """A frame with nothing but a spot, at the middle of a car and of its 2D box."""
    path = tmp_path_factory.mktemp("spot") / "000000.png"
    image = np.zeros((128, 256, 3), np.uint8)
    x0, y0 = SPOT - SIDE // 2
    image[y0 : y0 + SIDE, x0 : x0 + SIDE] = 150
    cv2.imwrite(str(path), image)
    center = np.append(CAMERA.rays(SPOT), 1) * 12 - CAMERA.translation
    x0, y0, x1, y1 = (*(SPOT - 20.0), *(SPOT + 20.0))
    item = car((x0, y0, x1, y1), center=tuple(center.tolist()), yaw=0.7)
    return [Frame("000000", path, PROJECTION, [item])]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_frames(tmp_path_factory.mktemp("frames") / "town", 4)


@pytest.fixture(scope="module")
def tilted(tmp_path_factory):
    """A frame of a tilted and bent camera, and a folder with its level view."""
    root = tmp_path_factory.mktemp("tilted")
    camera = CameraModel.from_intrinsics(PROJECTION[:, :3].round(), 256, 128, [-0.2], "plumb_bob")
    camera = replace(camera, level=level_from_angles(0.1, 0.05))
    projection = level_projection(camera)
    pinhole = CameraModel.from_projection(projection, 256, 128)
    for name, model in (("raw", camera), ("level", pinhole)):
        write_frames(root / name, 2)
        size, yaw, center = (3.9, 1.6, 1.5), 0.4, np.array((-0.5, 1.1, 12.0))
        corners = center + corner_offsets(np.array(size), np.array(yaw), np.eye(3))
        pixels = model.project(corners @ model.level)
        item = car((*pixels.min(0), *pixels.max(0)), size=size, yaw=yaw, center=tuple(center))
        write_objects(root / name / "label_2/000000.txt", [item])
    (root / "raw/calib/000000.txt").unlink()
    write_ros_calibration(root / "raw/calib/000000.yaml", camera, projection)
    write_calibration(root / "level/calib/000000.txt", projection)
    raw, level = (KittiDataset(root / name) for name in ("raw", "level"))
    cv2.imwrite(str(level[0].image_path), level_view(raw[0])[0])
    return raw, level


@pytest.fixture(scope="module")
def boxed(folder):
    """Frames with 2D boxes, of which every other one has no calibration."""
    frames = open_boxes([folder], SPEC.classes)
    return [replace(f, projection=None) if i % 2 else f for i, f in enumerate(frames)]


def views(frames, method=Method(), spec=SPEC, seed=3, boxed=None) -> TrainingViews:  # noqa: B008
    return TrainingViews(Sources(frames, frames, boxed), spec, method, seed)


def tensors(sample) -> list[torch.Tensor]:
    if isinstance(sample, torch.Tensor):
        return [sample]
    if sample is None:
        return []
    if isinstance(sample, tuple):
        return [t for part in sample for t in tensors(part)]
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
    truth = torch.tensor(item.center).float() + torch.from_numpy(CAMERA.translation).float()
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


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    """A photo of a light object on dark ground, that fills the 2D box of a car."""
    path = tmp_path_factory.mktemp("street") / "a.png"
    image = np.full((240, 400, 3), 20, np.uint8)
    image[80:161, 140:261] = 200
    cv2.imwrite(str(path), image)
    return Frame("a", path, None, [car((140.0, 80.0, 260.0, 160.0))])


@pytest.mark.parametrize("calibrated", [True, False])
def test_targets_of_2d_boxes_are_where_the_objects_are_seen(street, calibrated):
    projection = np.array([[300.0, 0, 200, 0], [0, 300, 120, 0], [0, 0, 1, 0]])
    frame = replace(street, projection=projection if calibrated else None)
    data = views([frame], Method(photometric=False), boxed=[frame])
    measured, mirrored = 0, set()
    for epoch in range(12):
        sample = data[Key(Kind.BOXED, epoch, 0)]
        for i, targets in enumerate(sample.targets):
            mirrored.add(bool(sample.pairs.mirrored[i]))
            objects = targets.objects
            assert targets.views.tolist() == [0]
            assert objects.batch.tolist() == [0] * len(objects)
            levels = sample.pairs.images[i].float().mean(0)
            cells = torch.stack((objects.x, objects.y), dim=-1)
            peaks = targets.heatmap[0, objects.class_index, objects.y, objects.x]
            assert (peaks == 1).all()
            torch.testing.assert_close(
                objects.edges.unflatten(1, (2, 2)).mean(1), objects.box_center
            )
            torch.testing.assert_close(
                objects.edges[:, 2:] - objects.edges[:, :2], objects.box_size
            )
            for cell, edges, own in zip(cells, objects.edges, objects.own, strict=True):
                box = (edges.unflatten(0, (2, 2)) + cell).flatten() * 4
                x0, y0, x1, y1 = box.round().int().tolist()
                if min(x1 - x0, y1 - y0) < 12 or not own.all():
                    continue
                around = levels[max(0, y0 - 5) : y1 + 6, max(0, x0 - 5) : x1 + 6]
                dark, light = around.min(), around.max()
                assert light > dark + 100
                share = (around - dark) / (light - dark)
                across, down = share[len(share) // 2].sum(), share[:, share.shape[1] // 2].sum()
                assert across == pytest.approx(x1 - x0 + 1, abs=2)
                assert down == pytest.approx(y1 - y0 + 1, abs=2)
                assert levels[y0 + 3 : y1 - 2, x0 + 3 : x1 - 2].min() > light - 10
                measured += 1
    assert measured > 12
    assert mirrored == {True, False}


def test_stills_are_shown_among_each_other_and_calibrated_frames_alone(tmp_path):
    frames = []
    for channel, name in enumerate(("blue", "green", "red")):
        path, image = tmp_path / f"{name}.png", np.zeros((128, 256, 3), np.uint8)
        image[..., channel] = 200
        cv2.imwrite(str(path), image)
        frames.append(Frame(name, path, PROJECTION if name == "red" else None, []))
    data = views(frames, Method(photometric=False), BGR, boxed=frames)
    assert data.stills == [0, 1]

    def colours(pairs):
        channels = pairs.images.movedim(1, -1).reshape(-1, 3)
        return set(channels[channels.amax(-1) > 100].argmax(-1).tolist())

    seen = set()
    for epoch in range(8):
        still, calibrated = (data[Key(Kind.BOXED, epoch, i)].pairs for i in (0, 2))
        seen |= colours(still)
        assert 0 in colours(still)
        assert colours(calibrated) == {2}
        assert calibrated.intrinsics[:, 0, 0].tolist() == [200, 200]
        assert still.intrinsics[:, 0, 0].tolist() == [0.75 * 320] * 2
    assert seen == {0, 1}


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
    frames = [Frame("blue", path, PROJECTION, [])]
    data = views(frames, Method(photometric=False), spec)
    for key in (Key(Kind.LABELLED, 0, 0), Key(Kind.UNLABELLED, 0, 0)):
        images = data[key].images
        assert images.dtype == torch.uint8
        assert images.shape[-3:] == (3, 64, 160)
        assert images[..., 32, 80].reshape(-1, 3).argmax(-1).unique().tolist() == [channel]


def test_item_of_a_key_is_always_the_same(folder, boxed):
    data, again = (views(KittiDataset(folder), boxed=boxed) for _ in range(2))
    kinds = (Kind.LABELLED, 1), (Kind.UNLABELLED, 1), (Kind.BOXED, 0), (Kind.BOXED, 1)
    for key in (Key(kind, 0, index) for kind, index in kinds):
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


def test_views_travel_to_loading_processes(folder, boxed):
    data = views(KittiDataset(folder), boxed=boxed)
    received = pickle.loads(pickle.dumps(data))
    kinds = (Kind.LABELLED, 0), (Kind.UNLABELLED, 0), (Kind.BOXED, 0), (Kind.BOXED, 1)
    for key in (Key(kind, 2, index) for kind, index in kinds):
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


def test_batch_joins_boxed_images_before_unlabelled_ones(folder, boxed):
    data = views(KittiDataset(folder), boxed=boxed)
    keys = [
        Key(Kind.UNLABELLED, 0, 0),
        Key(Kind.BOXED, 0, 0),
        Key(Kind.LABELLED, 0, 0),
        Key(Kind.BOXED, 0, 1),
    ]
    pair, calibrated, _, still = samples = [data[key] for key in keys]
    assert isinstance(calibrated, Boxed)
    assert isinstance(still, Boxed)
    batch = collate(samples)
    in_order = [calibrated.pairs, still.pairs, pair]
    for field in fields(Pairs):
        expected = [getattr(p, field.name)[i] for i in range(2) for p in in_order]
        assert_same(getattr(batch.pairs, field.name), torch.stack(expected))
    assert batch.boxed.views.tolist() == [0, 1, 3, 4]
    parts = [sample.targets[i] for i in range(2) for sample in (calibrated, still)]
    assert_same(batch.boxed.heatmap, torch.cat([part.heatmap for part in parts]))
    assert_same(batch.boxed.care, torch.cat([part.care for part in parts]))
    objects = batch.boxed.objects
    assert len(objects) == sum(len(part.objects) for part in parts) > 3
    for view, part in zip(batch.boxed.views, parts, strict=True):
        rows = objects.batch == view
        for field in fields(objects):
            if field.name != "batch":
                assert_same(getattr(objects, field.name)[rows], getattr(part.objects, field.name))


def test_batch_has_only_what_its_samples_have(folder, boxed):
    data = views(KittiDataset(folder), boxed=boxed)
    labelled, sample = data[Key(Kind.LABELLED, 0, 0)], data[Key(Kind.BOXED, 0, 0)]
    batch = collate([labelled, sample])
    assert batch.boxed.views.tolist() == [0, 1]
    assert_same(batch.pairs, sample.pairs)
    assert collate([labelled]).boxed is None
    assert collate([labelled, data[Key(Kind.UNLABELLED, 0, 0)]]).boxed is None
    nothing = collate([labelled, data[Key(Kind.BOXED, 0, 2)], sample])
    assert nothing.boxed.views.tolist() == [0, 1, 2, 3]


def test_batch_moves_to_a_device_as_a_whole(folder, boxed):
    data = views(KittiDataset(folder), boxed=boxed)
    kinds = (Kind.LABELLED, Kind.UNLABELLED, Kind.BOXED)
    batch = collate([data[Key(kind, 0, 0)] for kind in kinds])
    moved = batch.to(torch.device("meta"))
    assert {t.device.type for t in tensors(moved)} == {"meta"}
    assert len(tensors(moved)) == len(tensors(batch))
    assert collate([data[Key(Kind.LABELLED, 0, 0)]]).to(torch.device("meta")).pairs is None


def test_what_is_wrong_with_a_frame_comes_back_as_the_batch(folder, tmp_path):
    frame = KittiDataset(folder)[0]
    corrupt = tmp_path / "corrupt.png"
    corrupt.write_bytes(frame.image_path.read_bytes()[:200])
    uncalibrated = np.zeros((3, 4))
    frames = [frame, replace(frame, image_path=corrupt), replace(frame, projection=uncalibrated)]
    data = views(frames, boxed=frames)
    for index, cause in ((1, "corrupt.png"), (2, "focal")):
        for kind in Kind:
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


def test_still_that_cannot_be_read_is_named_whichever_panorama_it_is_in(boxed, tmp_path):
    corrupt = tmp_path / "corrupt.png"
    corrupt.write_bytes(boxed[1].image_path.read_bytes()[:200])
    stills = [boxed[1], replace(boxed[1], image_path=corrupt)]
    data = views(stills, boxed=stills)
    errors = [data[Key(Kind.BOXED, epoch, 0)] for epoch in range(8)]
    errors = [error for error in errors if isinstance(error, InputError)]
    assert errors
    for error in (*errors, data[Key(Kind.BOXED, 0, 1)]):
        assert str(error).startswith(f"{corrupt}: not a readable")


def test_label_that_cannot_be_read_names_its_file(tmp_path):
    root = write_frames(tmp_path / "town", 2)
    label = root / "label_2" / "000000.txt"
    label.write_text("Car 0 0\n")
    error = views(KittiDataset(root))[Key(Kind.LABELLED, 0, 0)]
    assert isinstance(error, InputError)
    assert str(label) in str(error)


def test_interleaved_frames_are_seen_equally_often():
    frames = Interleaved(["abc", "x", "12"])
    assert len(frames) == 9
    assert [frames[i] for i in range(len(frames))] == list("ax1bx2cx1")


def test_tilted_and_bent_frames_are_seen_through_the_level_pinhole(tilted):
    raw, level = (views(frames) for frames in tilted)
    for draw in range(4):  # mirrored and not
        for index in range(2):  # the other frame is of a level camera
            key = Key(Kind.LABELLED, draw, index)
            for seen, expected in zip(tensors(raw[key]), tensors(level[key]), strict=True):
                # The labels of the raw frame have two decimals.
                torch.testing.assert_close(seen, expected, atol=0.02, rtol=0)
        assert len(raw[Key(Kind.LABELLED, draw, 0)].targets.objects) == 1
