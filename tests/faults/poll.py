"""F25 to F34: what can happen to a poll."""
