"""The commands. Each is a module with a `main(argv=None) -> int`, also run as `python -m t5g.cli.<command>`."""
