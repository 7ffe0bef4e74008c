"""What an image has that is old or has known faults: Python's packages, Debian's, and its tag."""
