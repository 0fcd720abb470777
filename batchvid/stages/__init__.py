"""The three steps of a job: submit, poll, download; each one request or transfer that returns an event."""
