"""One file a benchmark, and what several of them share."""
