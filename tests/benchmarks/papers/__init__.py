"""The source papers' figures, made again on the example models: a figure is a file in `figures/`, found by being there.

`python -m tests.benchmarks.papers` runs what they are made of and writes docs/papers.md with its pictures.
"""
