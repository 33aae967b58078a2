"""The way from here into a stack that runs: its stores, its gateway, its secrets, for the time of a command."""
