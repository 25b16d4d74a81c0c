"""What can go wrong, as the user should hear of it.

Every message is one line: what failed, why, and what to do about it. The command line
maps each class to an exit code; the core never prints and never exits.
"""


class PplavaError(Exception):
    """Base of every error this package raises on purpose."""


class UsageError(PplavaError, ValueError):
    """The request makes no sense as asked: a bad range, an unknown option value."""


class ShapeError(UsageError):
    """A tensor or window does not fit the axes it is used on."""


class InputError(PplavaError):
    """A file or folder cannot be read as a video or picture."""


class ModelError(PplavaError):
    """A model is missing, damaged, or not what its folder says it is."""


class OutputError(PplavaError, OSError):
    """A result cannot be written: the disk is full, or the folder may not be written into."""


class RecipeError(UsageError):
    """A training recipe is malformed or contradicts itself."""
