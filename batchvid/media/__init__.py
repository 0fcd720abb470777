"""Pictures and films: what is sent of a frame, whether a clip is whole, and how clips are joined."""
