"""The commands: each module holds a few that belong together, and is loaded only when one of them is called."""
