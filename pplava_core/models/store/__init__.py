"""Models fetched from a hub: known names, pulling, checking, removing.

`pull` fills a folder, `shelf` looks after those that are there, `known` says which have short
names, `safe_paths` keeps hostile names inside. How a folder becomes a model is not known here.
"""

from pplava_core.models.store.known import AlignerSource, KnownModel, find_known, known_models
from pplava_core.models.store.pull import Pulled, pull
from pplava_core.models.store.safe_paths import check_file_name, check_index, path_inside
from pplava_core.models.store.source import (
    ALIGNER_FOLDER,
    HubSource,
    SourceRecord,
    StoredFile,
    read_record,
)

__all__ = [
    "ALIGNER_FOLDER",
    "AlignerSource",
    "HubSource",
    "KnownModel",
    "Pulled",
    "SourceRecord",
    "StoredFile",
    "check_file_name",
    "check_index",
    "find_known",
    "known_models",
    "path_inside",
    "pull",
    "read_record",
]
