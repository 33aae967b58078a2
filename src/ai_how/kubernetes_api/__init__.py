"""The Kubernetes API: a small client, server-side apply of what we render, and why something does not work.

Owns how to speak with an API server. Knows no component of the stack, and not how the cluster was made.
"""
