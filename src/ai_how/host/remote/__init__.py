"""Programs that are sent to another machine's Python over SSH, each in one piece, and the reading of what they say.

``collect`` and ``reach`` are never imported by the product: their text is sent. They keep to Python 3.8 and its
standard library, write nothing there, and need no root.
"""
