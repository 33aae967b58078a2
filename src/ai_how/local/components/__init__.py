"""One module a component of the embedded stack; each renders its process from the site. Pure, no effects.

A new component is one module here and one line in ``local/stack.py``.
"""
