"""The error that a user can mend: bad files, bad values, missing parts."""

from pathlib import Path

_GIT_LFS = b"version https://git-lfs"


class InputError(ValueError):
    """Input that cannot be used; the message names what was wrong and what was expected.

    The command line prints it as one line and exits with code 1; the node drops the frame (or
    refuses the transition) and reports it in diagnostics.
    """


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
