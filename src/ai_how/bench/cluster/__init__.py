"""Figures of a cluster itself: how soon pods start, how fast names and packets go, how busy its GPUs are.

Makes short pods in a namespace of its own, which goes again whatever happens. Never touches what serves.
"""
