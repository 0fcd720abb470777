"""What a person or a program sees: the plan, the live view, plain lines, JSON, the status."""
