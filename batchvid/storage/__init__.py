"""Where clips lie: the output tree, the parts that become clips, and what a disk needs to survive a crash."""
