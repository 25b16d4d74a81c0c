"""Pictures of the relevance: where in a clip, and when, a question points.

Pure functions from frames and relevance to pictures, and one that writes them. Nothing
here decodes films or knows models. Pillow, PyAV and matplotlib are loaded when drawing.
"""

from pplava_core.heatmap.output import check_replaceable, form_of, is_heatmap, write_heatmap
from pplava_core.heatmap.overlay import overlay_frame
from pplava_core.heatmap.scale import HeatScale, multiples_of_average
from pplava_core.heatmap.sheet import Heatmap, contact_sheet, pages

__all__ = [
    "HeatScale",
    "Heatmap",
    "check_replaceable",
    "contact_sheet",
    "form_of",
    "is_heatmap",
    "multiples_of_average",
    "overlay_frame",
    "pages",
    "write_heatmap",
]
