"""The one exception that a user is meant to read."""


class UserError(Exception):
    """What the user can mend. The command line prints it as one line and exits 1.

    The message gives the value, the file, and what to do next.
    """
