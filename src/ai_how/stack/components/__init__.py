"""One module a part of the stack, each with a pure ``render(setting)`` that gives its ``Part``."""
