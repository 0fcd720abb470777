"""What decides, and cannot do I/O: values, rules and arithmetic over plain numbers."""
