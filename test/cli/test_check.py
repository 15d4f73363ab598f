import cv2
import pytest
from support.frames import write_frames

from km3d_ros.cli import main
from km3d_ros.data.calibration import read_projection, write_calibration
from km3d_ros.data.dataset_check import check_folder
from km3d_ros.data.kitti_labels import write_objects
from km3d_ros.town.dataset import prepare, write_stills


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    """Rendered streets with exact labels."""
    root = tmp_path_factory.mktemp("town")
    prepare(root)
    list(write_stills(root, 4, 3, (640, 192), None, 1))
    return root


@pytest.fixture
def copy(town, tmp_path):
    """The same streets, to break."""
    root = tmp_path / "copy"
    for path in town.rglob("*.*"):
        target = root / path.relative_to(town)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    return root


def rewrite(root, change):
    """Change the columns of every labelled object."""
    for path in (root / "training" / "label_2").iterdir():
        lines = [line.split() for line in path.read_text().splitlines()]
        path.write_text("".join(" ".join(change(columns)) + "\n" for columns in lines))


def test_sound_folder_is_counted_and_drawn(town, tmp_path, capsys):
    sheet = tmp_path / "sheet.jpg"
    assert main(["check", str(town), "--sheet", str(sheet)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "4 frames without damaged or missing files"
    assert lines[1].startswith("cameras, pixels: width 640, height 192, fx ")
    assert "no mistakes found" in lines
    counts = {line.split()[0]: int(line.split()[1]) for line in lines[4:] if line[:1].isupper()}
    labels = [p.read_text() for p in (town / "training" / "label_2").iterdir()]
    assert counts["Car"] == sum(text.count("Car ") for text in labels)
    picture = cv2.imread(str(sheet))
    assert picture.shape == (2 * 270, 1800, 3)
    image = cv2.imread(str(next((town / "training" / "image_2").iterdir())))
    tile = cv2.resize(image, (900, 270), interpolation=cv2.INTER_AREA)
    assert (picture[:270, :900] != tile).any()


def test_projected_boxes_of_exact_labels_fit_the_2d_boxes(town):
    overlaps = check_folder(town).classes["Car"].overlaps
    assert len(overlaps) >= 5
    assert sorted(overlaps)[len(overlaps) // 2] > 0.9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        # Length, width, height instead of height, width, length.
        (
            lambda c: [*c[:8], *(c[10:7:-1] if c[0] != "DontCare" else c[8:11]), *c[11:]],
            "sides look swapped",
        ),
        # The centre instead of the bottom.
        (
            lambda c: [*c[:12], f"{float(c[12]) - float(c[8]) / 2}", *c[13:]],
            "projected 3D boxes do not fit the 2D boxes",
        ),
        (lambda c: ["traffic_cone", *c[1:]], "class names are unknown"),
        (lambda c: [*c[:4], "0", "0", "0", "0", *c[8:]], "2D boxes without area"),
        (lambda c: [*c[:4], "9000", "9", "9100", "90", *c[8:]], "2D boxes outside the image"),
        (lambda c: [*c[:8], *(f"{1000 * float(v)}" for v in c[8:11]), *c[11:]], "length, width"),
    ],
)
def test_mistakes_of_labels_are_named(copy, change, message, capsys):
    rewrite(copy, change)
    assert main(["check", str(copy)]) == 1
    assert message in capsys.readouterr().out


@pytest.mark.parametrize(
    ("factor", "offset", "message"),
    [
        (10, 0, "horizontal field of view"),
        (1, 5000, "principal point ("),
        (1.4, 0, "projected 3D boxes do not fit"),
        (0.001, 0, "expected pixels"),
    ],
)
def test_cameras_that_make_no_sense_are_named(copy, factor, offset, message, capsys):
    for path in (copy / "training" / "calib").iterdir():
        projection = read_projection(path)
        projection[:2, :2] *= factor
        projection[0, 2] += offset
        write_calibration(path, projection)
    assert main(["check", str(copy)]) == 1
    assert message in capsys.readouterr().out


def test_missing_and_damaged_files_are_listed(tmp_path, capsys):
    root = write_frames(tmp_path / "data", 5)
    (root / "label_2" / "000000.txt").unlink()
    (root / "calib" / "000001.txt").unlink()
    (root / "image_2" / "000002.png").write_bytes(b"none")
    write_objects(root / "label_2" / "000009.txt", [])
    assert main(["check", str(root)]) == 1
    out = capsys.readouterr().out
    assert out.startswith("2 frames without damaged or missing files")
    for text in (
        "2 x files are missing:\n    label_2/000000.*\n    calib/000001.*\n",
        f"1 x files cannot be used:\n    {root}/image_2/000002.png: not a readable PNG",
        "1 x labels without image:\n    000009.txt\n",
    ):
        assert text in out
