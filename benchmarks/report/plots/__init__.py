"""Plots as SVG (matplotlib): a function per plot, each from a study to a ``Picture``."""
