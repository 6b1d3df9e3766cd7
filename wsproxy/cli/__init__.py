"""One file a command: argument parsing and printing, nothing else."""
