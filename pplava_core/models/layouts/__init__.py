"""Folders in other people's layouts, and the aligners in and beside them."""
