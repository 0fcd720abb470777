"""What touches the world, and cannot decide: sockets, the journal, files, images."""
