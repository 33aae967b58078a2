"""``python -m ai_how`` and the ``ai-how`` program."""

from ai_how.cli.app import main

if __name__ == "__main__":
    main()
