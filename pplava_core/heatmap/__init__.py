"""Pictures of the relevance: where in a clip, and when, a question points.

Pure functions from frames and relevance to pictures, and one that writes them. Nothing
here decodes films or knows models. Pillow, PyAV and matplotlib are loaded when drawing.
"""

from pplava_core.heatmap.output import form_of, write_heatmap
from pplava_core.heatmap.overlay import overlay_frame
from pplava_core.heatmap.scale import HeatScale, multiples_of_average
from pplava_core.heatmap.sheet import Heatmap, contact_sheet, pages

__all__ = [
    "HeatScale",
    "Heatmap",
    "contact_sheet",
    "form_of",
    "multiples_of_average",
    "overlay_frame",
    "pages",
    "write_heatmap",
]
