"""Kills: at random moments, and at system calls; more than a hundred of them."""
