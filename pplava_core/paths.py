"""Where this package keeps what it may throw away and make again.

One directory holds everything large; nothing is created here, only named. Who writes
into it makes the folder it needs.
"""

from __future__ import annotations

import os
from pathlib import Path


def cache_directory() -> Path:
    """Name the one directory that holds everything large.

    Returns:
        What ``PPLAVA_CACHE_DIR`` says, where it is set and not empty (``~`` is expanded);
        otherwise the user's cache directory of this platform, under ``pplava``. It need
        not exist yet.
    """
    moved = os.environ.get("PPLAVA_CACHE_DIR", "")
    if moved:
        return Path(moved).expanduser().absolute()
    import platformdirs

    return platformdirs.user_cache_path("pplava", appauthor=False)


def models_directory() -> Path:
    """Name the folder of downloaded models, one folder for each."""
    return cache_directory() / "models"


def features_directory() -> Path:
    """Name the folder of remembered patch grids."""
    return cache_directory() / "features"
