"""The sandbox: it plays the paid service, strict where that is strict, and counts what it would bill."""
