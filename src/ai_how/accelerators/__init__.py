"""NVIDIA accelerators as data: memory, compute capability, power limit, names, each with its source.

Owns the catalogue. Must never look at a machine: ``host`` does, and asks here what a PCI id or a name means.
"""
