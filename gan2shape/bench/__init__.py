"""Benchmark tables over rungs, methods and baselines: everything below runs here, nothing below imports from here."""
