"""What the handbook promises."""

import re
from pathlib import Path

import pytest

import km3d_ros
from km3d_ros.frames.statistics import FrameStatistics
from km3d_ros.node.diagnostics import stream_values

ROOT = Path(km3d_ros.__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.glob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page):
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        file, _, heading = link.partition("#")
        target = page.parent / file if file else page
        assert target.exists(), link
        titles = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE) if heading else []
        anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
        assert not heading or heading in anchors, link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_modules_and_scripts_exist(page):
    named = re.findall(r"\b(?:\w+/)+\w+\.py\b", page.read_text())
    assert [n for n in named if not any((r / n).exists() for r in (ROOT, ROOT / "km3d_ros"))] == []


def test_every_value_of_the_diagnostics_is_explained():
    table = (DOCS / "vehicle.md").read_text().partition("| key | |")[2].partition("\n\n")[0]
    cells = re.findall(r"^\| (`.+?) \|", table, re.MULTILINE)
    names = [name for cell in cells for name in re.findall(r"`([\w.]+)`", cell)]
    explained = {f"latency_ms{name}" if name[0] == "." else name for name in names}
    statistics = FrameStatistics()
    statistics.answered(0.1, exact=True)
    counts = stream_values(statistics.totals(), statistics.latencies())
    others = {"backend", "model", "weights", "mount", "input_hz", "output_hz"}
    assert explained == others | set(counts)
