"""Measuring a model: one file a benchmark."""
