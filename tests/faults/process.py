"""F66 to F78: what can happen to the process, the host and the time."""
