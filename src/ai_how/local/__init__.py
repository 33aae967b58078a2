"""The embedded provider: the stack as supervised processes on this machine. Imports no other provider."""
