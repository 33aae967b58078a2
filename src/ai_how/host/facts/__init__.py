"""What a machine has, one module a subject: a frozen dataclass and the function that reads it from a ``Root``.

Owns reading and parsing. Judges nothing: that is ``checks``'. What cannot be read is None, never a guess.
"""
