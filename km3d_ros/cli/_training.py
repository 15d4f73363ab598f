"""Options and training run that `km3d train` and `km3d adapt` share."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from km3d_ros.cli import _options
from km3d_ros.cli._config import add_config
from km3d_ros.cli._types import UsageError, as_usage_error, number, whole
from km3d_ros.errors import InputError
from km3d_ros.training.settings import Method, Plan

if TYPE_CHECKING:
    import torch

    from km3d_ros.data.kitti import KittiDataset
    from km3d_ros.network.km3dnet import KM3DNet
    from km3d_ros.network.spec import ModelSpec
    from km3d_ros.training.dataset import Sources
    from km3d_ros.training.fit import Judge

_FRACTION = number(0, sys.float_info.max, "a number from 0 up")


def add_options(parser: argparse.ArgumentParser, **defaults: Any) -> None:
    """Declare the options of a training; `defaults` replaces those of `Plan` and `Method`."""
    add = parser.add_argument
    add(
        "--data",
        type=Path,
        required=True,
        nargs="+",
        metavar="DIR",
        help="labelled KITTI-format folders, each seen equally often",
    )
    _options.add_split(parser)
    add(
        "--rename",
        type=_rename,
        nargs="+",
        default=[],
        metavar="OLD=NEW",
        help="read the labelled class OLD as NEW, which is a trained class, or DontCare to ignore "
        "its objects",
    )
    add(
        "--unlabelled",
        type=Path,
        metavar="PATH",
        help="images without labels: KITTI-format folder, folder of images, or bag",
    )
    add(
        "--boxes",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="images with 2D boxes: KITTI-format folders, or COCO JSON files",
    )
    _options.add_image_source(parser, "images of --unlabelled")
    add(
        "--validation",
        type=Path,
        metavar="DIR",
        help="labelled KITTI-format folder; its figures are printed and stored with the weights",
    )
    add("--validation-split", metavar="NAME", help="as --split, for --validation")
    add("--run", type=Path, required=True, metavar="DIR", help="folder for state and logs")
    _options.add_output_weights(parser)
    _options.add_device(parser)
    for kind in (Plan, Method):
        _add_fields(parser.add_argument_group(kind.__name__.lower()), kind, defaults)
    add_config(parser)


def train(args: argparse.Namespace, model: KM3DNet, spec: ModelSpec) -> int:
    """Train a model in all processes of torchrun, and write its weights."""
    from km3d_ros.data.kitti import KittiDataset
    from km3d_ros.training import processes
    from km3d_ros.training.fit import fit

    with as_usage_error():
        plan, method = (
            kind(**{field.name: getattr(args, field.name) for field in fields(kind)})
            for kind in (Plan, Method)
        )
    _require_partners(args)
    sources, counts, report = _open_sources(args, spec)
    validation = None
    if args.validation:
        renames = _renames(args, spec.classes)
        validation = KittiDataset(args.validation, args.validation_split, spec.classes, renames)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    summary = {
        "command": shlex.join(["km3d", *sys.argv[1:]]),
        **counts,
        "images_seen": plan.steps * plan.batch_size,
        **asdict(plan),
        **asdict(method),
    }
    with processes.joined(args.device) as device:
        judge = _judge(spec, validation, plan.validation_frames, device) if validation else None
        if processes.rank() == 0:
            print(*report, sep="\n", flush=True)
        model = fit(model, spec, sources, plan, method, args.run, device, judge)
        if processes.rank() == 0:
            _write(args.out, model, replace(spec, training=summary), validation, device)
            print(f"{args.out}: {spec.architecture}, {plan.steps} steps")
    return 0


def _open_sources(
    args: argparse.Namespace, spec: ModelSpec
) -> tuple[Sources, dict[str, int], list[str]]:
    """The frames to train on, their numbers by kind, and lines that describe them."""
    from km3d_ros.data.boxes import open_boxes
    from km3d_ros.data.label_report import report_labels
    from km3d_ros.data.unlabelled import open_unlabelled
    from km3d_ros.training.dataset import Interleaved, Sources

    folders = open_labelled(args, spec.classes)
    count = sum(map(len, folders))
    found, report = f"{count} labelled", report_labels(folders, spec.classes)
    unlabelled = boxed = None
    if args.unlabelled:
        cache = args.run / "unlabelled"
        mounting = _options.mounting_of(args)
        unlabelled = open_unlabelled(args.unlabelled, args.camera, cache, args.topic, mounting)
        found += f" and {len(unlabelled)} unlabelled"
    if args.boxes:
        boxed = open_boxes(args.boxes, spec.classes, _renames(args, spec.classes))
        report += boxed.report
    if getattr(args, "classes", None):
        report += _sizes(spec)
    counts = {
        "frames": count,
        "unlabelled_frames": len(unlabelled or ()),
        "boxed_frames": len(boxed or ()),
    }
    labelled = Interleaved(folders) if len(folders) > 1 else folders[0]
    return Sources(labelled, unlabelled, boxed), counts, [f"{found} frames", *report]


def open_labelled(args: argparse.Namespace, classes: Sequence[str]) -> list[KittiDataset]:
    """The folders of --data, with the classes renamed."""
    from km3d_ros.data.kitti import KittiDataset

    renames = _renames(args, classes)
    return [KittiDataset(folder, args.split, classes, renames) for folder in args.data]


def _sizes(spec: ModelSpec) -> list[str]:
    """One line per class: the sizes of its objects."""
    lines = []
    columns = spec.classes, spec.dimension_mean, spec.dimension_spread
    for name, mean, spread in zip(*columns, strict=True):
        sides = " x ".join(f"{side:.2f}" for side in mean)
        percent = ", ".join(f"{100 * part:.0f}" for part in spread)
        lines.append(f"{name}: height x width x length {sides} m, spread {percent} %")
    return lines


def _renames(args: argparse.Namespace, classes: Sequence[str]) -> dict[str, str]:
    """The class names of --rename, each as labels are read: new by old."""
    from km3d_ros.data.class_names import DONT_CARE, canonical

    renames = {canonical(old): canonical(new, classes) for old, new in args.rename}
    for old, new in renames.items():
        if new not in (*classes, DONT_CARE):
            known = ", ".join(classes)
            raise UsageError(f"--rename {old}={new}: {new} is not one of {known}, {DONT_CARE}")
    return renames


def _rename(text: str) -> tuple[str, str]:
    old, equals, new = text.partition("=")
    if not (old and equals and new) or len(text.split()) != 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not OLD=NEW, two class names")
    return old, new


def _require_partners(args: argparse.Namespace) -> None:
    """Check that no option lacks another one that it needs."""
    partners = {
        "unlabelled": ("camera", "topic", "camera_pitch", "camera_roll", "base_frame"),
        "validation": ("validation_split", "validate_every"),
    }
    for partner, names in partners.items():
        for name in names:
            if getattr(args, name) and not getattr(args, partner):
                raise UsageError(f"--{name.replace('_', '-')} needs --{partner}")


def _write(
    path: Path,
    model: KM3DNet,
    spec: ModelSpec,
    validation: KittiDataset | None,
    device: torch.device,
) -> None:
    """Write the weights in half precision; with validation frames also noise and figures."""
    import torch

    from km3d_ros.evaluation.covariances import fit_and_judge
    from km3d_ros.evaluation.validation import LEAST_SCORE, detect_all, figures_of
    from km3d_ros.inference.detector import Detector
    from km3d_ros.network import checkpoint

    checkpoint.save(path, model, spec, dtype=torch.float16)
    if validation is None:
        return
    # The written weights are validated, not the model in memory.
    detector = Detector.from_checkpoint(path, str(device), LEAST_SCORE, backend="torch")
    findings = detect_all(detector, validation)
    figures = {"validation": figures_of(findings)}
    noise = spec.noise
    try:
        noise, figures["calibration"] = fit_and_judge(findings)
    except InputError as error:
        print(f"The covariances are not fitted: {error}", file=sys.stderr)
    print(json.dumps(figures, indent=2))
    spec = replace(spec, noise=noise, training=spec.training | figures)
    checkpoint.rewrite(path, path, spec)


def _judge(spec: ModelSpec, frames: KittiDataset, count: int, device: torch.device) -> Judge:
    """Figures of the spec's first class on `count` of the frames, spread over all of them."""
    from torch.utils.data import Subset

    from km3d_ros.evaluation.validation import LEAST_SCORE, validate
    from km3d_ros.inference.detector import Detector
    from km3d_ros.training.fit import Judge

    count = min(count, len(frames))
    some = Subset(frames, [i * len(frames) // count for i in range(count)])
    name = spec.classes[0]

    def figures_of(model: KM3DNet) -> dict[str, float | None]:
        figures = validate(Detector.of_model(model, spec, device, LEAST_SCORE), some)
        precision, depth = figures["ap_r40"][name], figures["median_relative_depth_error"]
        return {
            # The figure that chooses the best weights; it has to be a number.
            f"{name} 3d@0.5 moderate": precision["3d@0.5"][1] or 0.0,
            f"{name} 3d moderate": precision["3d"][1],
            f"{name} 2d moderate": precision["2d"][1],
            **{f"depth error {band} m": error for band, error in depth.items()},
        }

    return Judge(some, figures_of)


def _add_fields(group: argparse._ArgumentGroup, settings: type, defaults: dict[str, Any]) -> None:
    """Declare an option for every field of a dataclass of `training.settings`."""
    for field in fields(settings):
        default = defaults.get(field.name, field.default)
        about = {"default": default, "help": field.metadata["help"]}
        option = "--" + field.name.replace("_", "-")
        if isinstance(default, bool):
            group.add_argument(option, action=argparse.BooleanOptionalAction, **about)
        elif isinstance(default, str):
            group.add_argument(option, metavar="NAME", **about)
        else:
            kind, letter = (_FRACTION, "X") if isinstance(default, float) else (whole(0), "N")
            group.add_argument(option, type=kind, metavar=letter, **about)
