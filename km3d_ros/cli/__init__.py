"""The `km3d` command.

Every module here without an underscore is a verb of its name, with `add_parser(subparsers)` and
`run(args)`. They are all imported at each start: what is heavy is imported inside `run`.
"""

from __future__ import annotations

import argparse
import pkgutil
import sys
from collections.abc import Sequence
from functools import partial
from importlib import import_module

from km3d_ros.cli._config import with_config
from km3d_ros.cli._options import HelpFormatter
from km3d_ros.cli._types import UsageError
from km3d_ros.errors import InputError
from km3d_ros.version import __version__

_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb.

    Returns:
        The exit code: 0, 1 (failed; one line on stderr says why), or 130 (interrupted). Wrong
        usage exits with 2.
    """
    parser = argparse.ArgumentParser(prog="km3d", description="Metric 3D boxes from one camera.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    verb_parser = partial(argparse.ArgumentParser, formatter_class=HelpFormatter)
    subparsers = parser.add_subparsers(
        dest="verb", required=True, metavar="VERB", parser_class=verb_parser
    )
    names = [module.name for module in pkgutil.iter_modules(__path__)]
    verbs = {n: import_module(f"{__name__}.{n}") for n in names if not n.startswith("_")}
    for verb in verbs.values():
        verb.add_parser(subparsers)
    argv = sys.argv[1:] if argv is None else list(argv)
    try:
        args = parser.parse_args(with_config(argv, subparsers.choices))
        return verbs[args.verb.replace("-", "_")].run(args) or 0
    except UsageError as error:
        return subparsers.choices[args.verb].error(str(error))
    except (InputError, OSError, FloatingPointError) as error:
        print(f"km3d {argv[0]}: {_cause(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as interruption:
        if interruption.args:
            print(f"km3d {argv[0]}: {interruption}", file=sys.stderr)
        return _INTERRUPTED


def _cause(error: Exception) -> str:
    """The message of an error, after the file of a failed system call."""
    if isinstance(error, OSError) and error.strerror:
        file = error.filename2 or error.filename
        return f"{file}: {error.strerror}" if file else error.strerror
    return str(error)
