"""Foreign recipes -> recipes of ours, and what is wrong with them; nothing is run."""
