"""Carrying a plan out: the engine, the lock, the state file and the events."""
