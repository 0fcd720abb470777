"""The stand-in for the paid service: strict where the service is strict, and it counts what it would bill."""
