"""The time from asking for a replica to its first token, stage by stage, and what would shorten it.

Owns the stages and what is said of them. Measures nothing: the gateway and Kubernetes tell when what happened.
"""
