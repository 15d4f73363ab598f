"""`km3d check`: what a labelled folder holds, and what is wrong with it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from km3d_ros.cli import _options
from km3d_ros.cli._types import output_file

if TYPE_CHECKING:
    from km3d_ros.data.dataset_check import Checked

_SHOWN = 5
"""Faults of one kind that are listed."""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Declare the verb."""
    parser = subparsers.add_parser(
        "check",
        help="look for mistakes in a labelled KITTI-format folder",
        description="Count the objects of a labelled KITTI-format folder, with their sizes and "
        "distances, and look for mistakes: missing and unreadable files, unknown class names, "
        "cameras that make no sense, swapped columns, 3D boxes that do not fit the 2D boxes. The "
        "exit code is 1 if any is found.",
    )
    parser.add_argument("data", type=Path, metavar="DATA", help="KITTI-format folder")
    _options.add_split(parser)
    parser.add_argument(
        "--sheet",
        type=output_file,
        metavar="FILE",
        help="write a contact sheet to look at: twelve of the images with their boxes (.jpg)",
    )


def run(args: argparse.Namespace) -> int:
    """Check and print."""
    from km3d_ros.data.dataset_check import check_folder

    checked = check_folder(args.data, args.split)
    print("\n".join(_lines(checked)))
    if args.sheet and checked.frames:
        import cv2

        from km3d_ros.drawing.contact_sheet import contact_sheet
        from km3d_ros.whole_file import write_whole

        write_whole(args.sheet, cv2.imencode(".jpg", contact_sheet(checked.frames))[1].data)
        print(f"{args.sheet}: contact sheet")
    return 1 if checked.faults else 0


def _lines(checked: Checked) -> list[str]:
    import numpy as np

    from km3d_ros.data.box_labels import counted, shown

    lines = [f"{counted(len(checked.frames), 'frame')} without damaged or missing files"]
    if checked.cameras:
        low, high = np.min(checked.cameras, axis=0), np.max(checked.cameras, axis=0)
        names, ranges = ("width", "height", "fx", "fy", "cx", "cy"), []
        for name, a, b in zip(names, low.round(1), high.round(1), strict=True):
            ranges.append(f"{name} {a:g} to {b:g}" if a != b else f"{name} {a:g}")
        lines.append(f"cameras, pixels: {', '.join(ranges)}")
    head = ("length", "width", "height", "z", "2D IoU")
    lines += ["", f"{'class':16}{'objects':>8}" + "".join(f"{name:>21}" for name in head)]
    lines[-1] += "   (5 %, median, 95 %)"
    for name, figures in sorted(checked.classes.items(), key=lambda pair: -pair[1].count):
        line = f"{shown(name):16}{figures.count:>8}"
        for c in (*np.array(figures.sizes).reshape(-1, 3).T, figures.depths, figures.overlaps):
            found = np.quantile(c, (0.05, 0.5, 0.95)) if len(c) else ()
            line += f"{'  '.join(f'{v:.2f}' for v in found) or '-':>21}"
        lines.append(line)
    lines.append("")
    for kind, found in checked.faults.items():
        lines.append(f"{len(found)} x {kind}:")
        lines += [f"    {text}" for text in found[:_SHOWN]]
        if len(found) > _SHOWN:
            lines.append(f"    and {len(found) - _SHOWN} more")
    return lines if checked.faults else [*lines, "no mistakes found"]
