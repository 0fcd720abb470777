"""What must not leak, be followed, be obeyed or be executed: rows of the bench besides the list of faults."""
