"""Desired and observed resources in, ordered actions out. Pure: no clock, no files, no processes."""
