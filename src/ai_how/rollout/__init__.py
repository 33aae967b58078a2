"""Brings the stack onto clusters: objects by server-side apply, charts by Helm, part by part, and says how they are.

Owns what happens on a cluster's API. Renders nothing itself, and knows nobody who makes machines.
"""
