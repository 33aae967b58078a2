"""The command line: parse, call the library, print. Exit codes only here."""
