"""The folders that benchmarks' questions and videos lie in."""
