"""The error that a user can mend: bad files, bad values, missing parts."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

_GIT_LFS = b"version https://git-lfs"


class InputError(ValueError):
    """Input that cannot be used; the message names what was wrong and what was expected.

    The command line prints it as one line and exits with code 1; the node drops the frame (or
    refuses the transition) and reports it in diagnostics.
    """


@contextmanager
def naming(where: object) -> Iterator[None]:
    """Put `where` (a file, a line, a field) before the message of an InputError."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def pip_install(*packages: str) -> str:
    """The command that installs optional packages.

    It keeps NumPy 1 where that is installed: most of the packages would bring NumPy 2, with which
    the OpenCV of Humble, Jazzy and Kilted cannot be imported.
    """
    numpy = ['"numpy<2"'] if version("numpy").startswith("1.") else []
    return " ".join(["pip install", *packages, *numpy])


def check_downloaded(path: str | Path) -> None:
    """Refuse a Git LFS pointer: the text file that stands for a file that was not downloaded.

    Raises:
        InputError: names the command that downloads the file.
        OSError: the file is not readable.
    """
    with open(path, "rb") as file:
        if file.read(len(_GIT_LFS)) == _GIT_LFS:
            raise InputError(
                f"{path}: a Git LFS pointer, not the file itself; run `git lfs pull` in its "
                "repository"
            )
