"""Asking the questions of a benchmark: in order, resumable, shared out over processes."""
