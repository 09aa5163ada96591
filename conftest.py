"""Configuration that all tests and example audits share."""

pytest_plugins = ["pytester"]
