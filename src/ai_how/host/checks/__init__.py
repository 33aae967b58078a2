"""What the facts are worth: one module a subject, pure functions from facts and requirements to ``Check``s.

Owns verdicts and their words. Reads nothing: facts come in. A fix is a command for Debian or Ubuntu, or a setting.
"""
