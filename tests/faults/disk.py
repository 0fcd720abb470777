"""F51 to F65: what can happen to disk and files."""
