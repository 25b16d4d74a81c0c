"""Prompt-guided pooling for video language models: the library under the `pplava` command."""

__version__ = "0.1.0"
