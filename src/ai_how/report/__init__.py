"""What reports have in common: a self-contained HTML page and plots in it.

Owns looks. Knows no figure and no report; writes no file.
"""
