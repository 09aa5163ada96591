"""A figure a file: each has a `FIGURE`."""
