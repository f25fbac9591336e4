"""The commands: each is a docstring, its settings, and one call into the library."""
