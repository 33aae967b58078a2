"""Whether it fits: nodes on hosts, a model on a GPU, data on disks, and what it costs.

Owns arithmetic, each formula with its source. Pure: facts come from ``host``, wishes from ``site``; looks at nothing.
"""
