"""Disk images for machines: what goes into one, building it, and the store of built ones.

``recipe`` and ``layout`` are pure; ``build`` runs mmdebstrap and the disk tools; ``store`` keeps what was built.
"""
