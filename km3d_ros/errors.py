"""The error that a user can mend: bad files, bad values, missing parts."""


class InputError(ValueError):
    """Input that cannot be used; the message names what was wrong and what was expected.

    The command line prints it as one line and exits with code 1; the node drops the frame (or
    refuses the transition) and reports it in diagnostics.
    """
