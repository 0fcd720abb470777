"""What happened to every job, durably; the only truth about money."""
