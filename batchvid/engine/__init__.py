"""What drives a run: whose turn it is, what each outcome leads to, and the one place that starts tasks."""
