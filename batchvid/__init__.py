"""make for paid video clips: a manifest says which clips should exist, and they come to be, each paid for once."""

__version__ = "0.1.0"
