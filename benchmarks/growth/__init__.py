"""What becomes dearer as a site grows: `make bench GROWTH=1`."""
