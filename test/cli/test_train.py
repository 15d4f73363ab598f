import math
import subprocess
import sys

import pytest
import torch
from support.box_files import street
from support.frames import write_frames

from km3d_ros.cli import main
from km3d_ros.inference.detector import Detector
from km3d_ros.network.checkpoint import load, read_spec
from km3d_ros.network.resnet import ResNet18
from km3d_ros.training.class_sizes import KITTI_SIZES


def arguments(tmp_path, *more):
    return [
        "train", "--data", str(tmp_path / "data"), "--run", str(tmp_path / "run"),
        "--out", str(tmp_path / "out.safetensors"), "--input-size", "128x64",
        "--steps", "1", "--batch-size", "2", "--workers", "0", "--device", "cpu", *more,
    ]  # fmt: skip


@pytest.fixture
def data(tmp_path):
    return write_frames(tmp_path / "data", 2)


def test_trained_weights_run_and_say_how_they_were_made(data, tmp_path):
    assert main(arguments(tmp_path, "--seed", "7", "--no-flip")) == 0
    spec = read_spec(tmp_path / "out.safetensors")
    assert spec.input_size == (64, 128)
    settings = {"seed": 7, "images_seen": 2, "frames": 2, "unlabelled_frames": 0, "flip": False}
    assert spec.training.items() >= settings.items()
    Detector.from_checkpoint(tmp_path / "out.safetensors", "cpu", backend="torch")


def test_labels_are_counted_before_the_first_step(data, tmp_path, capsys):
    label = data / "label_2" / "000000.txt"
    label.write_text(label.read_text().replace("Car 0.00 0 0.0000", "car 0.00 4 -10.00"))
    assert main(arguments(tmp_path)) == 0
    lines = capsys.readouterr().out.splitlines()
    counts = "2 frames; Car 1 taught; Pedestrian 0 taught; Cyclist 0 taught"
    assert lines[1] == f"{data}: {counts}"
    log = (tmp_path / "run" / "log.csv").read_text().splitlines()
    losses = dict(zip(*(line.split(",") for line in log), strict=True))
    assert float(losses["hps"]) > 0


def test_validation_figures_are_stored_with_the_weights(data, tmp_path, capsys):
    assert main(arguments(tmp_path, "--validation", str(data))) == 0
    figures = read_spec(tmp_path / "out.safetensors").training["validation"]
    assert figures["frames"] == 2
    assert len(figures["ap_r40"]["Car"]["3d@0.5"]) == 3
    assert set(figures["median_relative_depth_error"]) == {"0-15", "15-30", "30-50"}
    shown = capsys.readouterr()
    assert '"frames": 2' in shown.out
    assert "The covariances are not fitted: 0 labelled objects were found" in shown.err


def test_periodic_validation_is_logged_and_keeps_the_best(data, tmp_path):
    options = ("--validation", str(data), "--validate-every", "1", "--validation-frames", "1")
    assert main(arguments(tmp_path, *options)) == 0
    header, row = (tmp_path / "run" / "validation.csv").read_text().splitlines()
    assert header.startswith("step,Car 3d@0.5 moderate,")
    assert row.startswith("1,0.0,")
    best, _ = load(tmp_path / "run" / "best.safetensors")
    out, _ = load(tmp_path / "out.safetensors")
    for a, b in zip(best.parameters(), out.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


def test_training_goes_on_from_weights(data, tmp_path, weights):
    start, start_spec = load(weights)
    command = [*arguments(tmp_path), "--weights", str(weights)]
    command = [a for a in command if a not in ("--input-size", "128x64")]
    assert main(command) == 0
    model, spec = load(tmp_path / "out.safetensors")
    assert spec.input_size == start_spec.input_size
    assert spec.dimension_mean == start_spec.dimension_mean
    torch.testing.assert_close(
        model.heads["hps"][0].weight, start.heads["hps"][0].weight, rtol=0, atol=2e-3
    )
    assert "hm_hp" in model.heads


@pytest.mark.parametrize(
    ("option", "needed"),
    [
        ("--camera", "--unlabelled"),
        ("--topic", "--unlabelled"),
        ("--validation-split", "--validation"),
        ("--validate-every", "--validation"),
    ],
)
def test_option_without_the_one_it_belongs_to_is_wrong_usage(tmp_path, capsys, option, needed):
    with pytest.raises(SystemExit) as stop:
        main(arguments(tmp_path, option, "1"))
    assert stop.value.code == 2
    assert capsys.readouterr().err.endswith(f"km3d train: error: {option} needs {needed}\n")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--batch-size", "0"], "batch_size is 0, expected 1 or more"),
        (["--precision", "half"], "precision is 'half', expected auto or float32 or bfloat16"),
        (["--learning-rate", "0"], "learning_rate is 0.0, expected a number above 0"),
        (["--keypoint-dropout", "2"], "keypoint_dropout is 2.0, expected 0 to 1"),
        (["--trained", "box"], "trained is 'box', expected one of all, hm, hps"),
        (["--architecture", "vgg"], "architecture 'vgg' is not one of dla_34, lite, res_18"),
        (
            ["--weights", "w", "--architecture", "lite"],
            "--architecture: the backbone is that of --weights",
        ),
        (
            ["--weights", "w", "--backbone-weights", "f"],
            "--backbone-weights: the backbone is that of --weights",
        ),
        (["--classes", "Car,car"], "argument --classes: 'Car,car': expected different classes"),
        (["--classes", "Car,DontCare"], "argument --classes: 'Car,DontCare': expected different"),
        (["--classes", "Car, 5"], "argument --classes: 'Car, 5' is not class names, separated"),
        (["--rename", "Bus"], "argument --rename: 'Bus' is not OLD=NEW, two class names"),
        (
            ["--rename", "bus=truck"],
            "--rename Bus=Truck: Truck is not one of Car, Pedestrian, Cyclist, DontCare",
        ),
    ],
)
def test_options_that_cannot_be_are_wrong_usage(tmp_path, capsys, options, message):
    with pytest.raises(SystemExit) as stop:
        main(arguments(tmp_path, *options))
    assert stop.value.code == 2
    assert f"km3d train: error: {message}" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["train", "fit-covariance"])
def test_folder_as_output_is_refused_before_the_work(tmp_path, capsys, verb):
    with pytest.raises(SystemExit) as stop:
        main([verb, "--data", "D", "--out", str(tmp_path)])
    assert stop.value.code == 2
    message = f"argument --out: {tmp_path} is a folder, expected a file to write"
    assert message in capsys.readouterr().err


def test_says_on_what_it_trains(data, tmp_path, capsys):
    assert main(arguments(tmp_path, "--unlabelled", str(data))) == 0
    assert capsys.readouterr().out.startswith("2 labelled and 2 unlabelled frames\n")


def test_images_with_2d_boxes_are_learned_from(data, tmp_path, capsys):
    items = (3, 20, 30, 80, 40), (1, 120, 30, 30, 60), (62, 5, 5, 20, 20)
    file = street(tmp_path / "street", *items)
    options = ["--boxes", str(data), str(file), "--boxes-batch-size", "3"]
    assert main(arguments(tmp_path, *options)) == 0
    assert capsys.readouterr().out.splitlines() == [
        "2 labelled frames",
        f"{data}: 2 frames; Car 1 taught; Pedestrian 0 taught; Cyclist 0 taught",
        f"{data}: 2 images (2 calibrated), 1 Car, 0 Pedestrian, 0 Cyclist",
        f"{file}: 1 image, 1 Car, 1 Pedestrian, 0 Cyclist; 1 box of other classes taken as "
        "background (chair 1)",
        f"{tmp_path / 'out.safetensors'}: lite, 1 steps",
    ]
    training = read_spec(tmp_path / "out.safetensors").training
    settings = {"boxed_frames": 3, "unlabelled_frames": 0, "boxes_batch_size": 3}
    assert training.items() >= settings.items()
    header = (tmp_path / "run" / "log.csv").read_text().splitlines()[0].split(",")
    assert {"boxes_hm", "boxes_hps", "consensus_peak"} <= set(header)


@pytest.mark.parametrize("content", [b"no image", b""])
def test_unreadable_image_is_named_in_one_line(data, tmp_path, capfd, content):
    broken = data / "image_2" / "000001.png"
    broken.write_bytes(content)
    assert main(arguments(tmp_path, "--workers", "1" if content else "0")) == 1
    line = capfd.readouterr().err.splitlines()[-1]
    assert line == f"km3d train: {broken}: not a readable PNG or JPEG image ({len(content)} bytes)"


@pytest.mark.parametrize("size", ["100x64", "640", "64x0", "64x32x32", "axb", "8192x8192"])
def test_input_size_must_fit_the_network(tmp_path, capsys, size):
    with pytest.raises(SystemExit) as stop:
        main(arguments(tmp_path, "--input-size", size))
    assert stop.value.code == 2
    assert f"'{size}' is not WIDTHxHEIGHT in multiples of 32" in capsys.readouterr().err


@pytest.mark.skipif(
    torch.__version__ < (2, 5), reason="processes of PyTorch 2.4 sometimes hang at their end"
)
def test_torchrun_trains_in_two_processes(data, tmp_path):
    """Three Python processes start PyTorch: slow, and the only test of the documented command."""
    program = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    program += ["--nproc-per-node", "2", "-m", "--", "km3d_ros.cli", *arguments(tmp_path)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    written = tmp_path / "out.safetensors"
    first, counts, last = done.stdout.splitlines()
    assert (first, last) == ("2 labelled frames", f"{written}: lite, 1 steps")
    assert counts.endswith("2 frames; Car 1 taught; Pedestrian 0 taught; Cyclist 0 taught")
    assert len((tmp_path / "run" / "log.csv").read_text().splitlines()) == 2


def test_several_labelled_folders_are_seen_together(data, tmp_path, capsys):
    other = write_frames(tmp_path / "other", 3)
    assert main([*arguments(tmp_path), "--data", str(data), str(other)]) == 0
    assert "5 labelled frames" in capsys.readouterr().out
    assert read_spec(tmp_path / "out.safetensors").training["frames"] == 5


def test_tilted_and_bent_frames_are_learned_from(data, tmp_path, capsys):
    tilted = str(tmp_path / "tilted")
    town = ["--frames", "3", "--seed", "5", "--size", "320x96", "--tilt", "0.2", "--lenses"]
    assert main(["town", "--out", tilted, *town]) == 0
    options = ["--data", str(data), tilted, "--validation", tilted, "--batch-size", "4"]
    assert main([*arguments(tmp_path), *options, "--boxes", tilted]) == 0
    shown = capsys.readouterr().out
    assert "5 labelled frames" in shown
    assert '"frames": 3' in shown
    log = (tmp_path / "run" / "log.csv").read_text().splitlines()
    losses = dict(zip(*(line.split(",") for line in log), strict=True))
    assert all(math.isfinite(float(value)) for value in losses.values())
    assert float(losses["hps"]) > 0


def relabel(data, *lines):
    """Replace the labels of the first frame; each line is a class and a height, width, length."""
    rest = "0.00 0 -10 60 50 120 90"
    text = "".join(f"{name} {rest} {size} 0.0 1.6 12.0 0.3\n" for name, size in lines)
    (data / "label_2" / "000000.txt").write_text(text)


def test_own_classes_are_taught_with_the_sizes_of_their_labels(data, tmp_path, capsys):
    relabel(data, ("car", "1.5 1.6 3.9"), ("bus", "3.0 2.5 12.0"), ("TRUCK", "3.2 2.4 8.0"))
    options = ["--classes", "Truck,Car,Pedestrian", "--rename", "Bus=Truck", "--validation", data]
    assert main([str(a) for a in arguments(tmp_path, *options)]) == 0
    shown = capsys.readouterr().out
    assert f"{data}: 2 frames; Truck 2 taught; Car 1 taught; Pedestrian 0 taught\n" in shown
    assert "Truck: height x width x length 3.10 x 2.45 x 9.80 m, spread 5, 5, 20 %\n" in shown
    spec = read_spec(tmp_path / "out.safetensors")
    assert spec.classes == ("Truck", "Car", "Pedestrian")
    height, width, length = spec.dimension_mean[0]
    assert (height, width) == (pytest.approx(3.098, abs=1e-3), pytest.approx(2.449, abs=1e-3))
    assert length == pytest.approx((12 * 8) ** 0.5, abs=1e-3)
    assert spec.dimension_mean[1:] == (KITTI_SIZES["Car"].mean, KITTI_SIZES["Pedestrian"].mean)
    assert set(spec.training["validation"]["ap_r40"]) == set(spec.classes)
    Detector.from_checkpoint(tmp_path / "out.safetensors", "cpu", backend="torch")


def test_class_renamed_to_dont_care_is_ignored(data, tmp_path, capsys):
    relabel(data, ("car", "1.5 1.6 3.9"), ("Cyclist", "1.7 0.6 1.8"), ("Bus", "3.0 2.5 12.0"))
    assert main(arguments(tmp_path, "--rename", "cyclist=dontcare")) == 0
    counts = "Car 1 taught; Pedestrian 0 taught; Cyclist 0 taught"
    ignored = "regions of other classes ignored: DontCare 1, Bus 1"
    assert f"{data}: 2 frames; {counts}; {ignored}\n" in capsys.readouterr().out


def test_boxes_are_renamed_too(data, tmp_path, capsys):
    file = street(tmp_path / "street", (8, 20, 30, 80, 40))  # COCO's truck
    options = ["--boxes", str(file), "--rename", "Truck=Car", "--boxes-batch-size", "1"]
    assert main(arguments(tmp_path, *options)) == 0
    assert f"{file}: 1 image, 1 Car, 0 Pedestrian, 0 Cyclist\n" in capsys.readouterr().out


def test_known_weights_learn_another_class(data, tmp_path, weights):
    relabel(data, ("car", "1.5 1.6 3.9"), ("Van", "2.1 1.9 5.1"))
    command = [*arguments(tmp_path), "--weights", str(weights), "--classes", "Pedestrian,Van,Car"]
    assert main([a for a in command if a not in ("--input-size", "128x64")]) == 0
    start, former = load(weights)
    model, spec = load(tmp_path / "out.safetensors")
    assert spec.classes == ("Pedestrian", "Van", "Car")
    assert spec.dimension_mean[2] == former.dimension_mean[0]
    before, after = (m.heads["hm"][-1].weight for m in (start, model))
    for old, new in ((0, 2), (1, 0)):
        torch.testing.assert_close(after[new], before[old], rtol=0, atol=3e-3)


def test_backbone_weights_are_where_a_training_starts(data, tmp_path):
    torch.manual_seed(3)
    published = {k: v for k, v in ResNet18().state_dict().items() if not k.startswith("upsample")}
    torch.save(published, tmp_path / "resnet18.pth")
    options = ["--architecture", "res_18", "--backbone-weights", str(tmp_path / "resnet18.pth")]
    assert main(arguments(tmp_path, *options)) == 0
    model, spec = load(tmp_path / "out.safetensors")
    assert spec.channel_order == "rgb"
    trained = model.backbone.layer1[0].conv1.weight
    torch.testing.assert_close(trained, published["layer1.0.conv1.weight"], rtol=0, atol=3e-3)
