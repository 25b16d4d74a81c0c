"""The `pplava` command: parse, show, exit. All the work is in `pplava_core`."""
