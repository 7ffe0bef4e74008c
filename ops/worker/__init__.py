"""What a worker does beside its jobs: it says that it is well, and finds what was lost."""
