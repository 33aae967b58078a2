"""Release sets: versions that were tested together, and a solver that explains why others do not fit together.

Owns facts about versions, each with source and date, and the search over them. Pure but for reading its own data.
"""
