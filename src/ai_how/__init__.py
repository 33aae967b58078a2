"""ai-how: your own machines as the inference provider for models fine-tuned with Oumi.

The way of a site file through the folders: ``site`` loads it, ``plan`` compares what it wants with what a
provider (``local``) observes, ``apply`` carries the plan out; ``models`` registers checkpoints, ``endpoints``
deploys them behind the ``gateway``, and ``bench`` measures the result. ``cli`` parses and prints, nothing else.
"""

__version__ = "0.1.0"
