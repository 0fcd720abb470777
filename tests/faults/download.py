"""F35 to F50: what can happen to a download."""
