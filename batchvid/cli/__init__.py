"""The command line: each module holds a few commands that belong together, and is loaded only when one is called."""
