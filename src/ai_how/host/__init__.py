"""What this machine has and whether that is good enough: facts from sysfs, procfs and tools, and the doctor's checks.

Owns reading. Changes nothing on the machine, and needs no root: what root would add is said. Readers take a ``Root``,
so that a captured tree reads as a live machine does; a file that is missing or nonsense is "unknown", never a crash.
"""
