"""Pure values and rules: what decides, and cannot do I/O."""
