"""What costs more as a site grows: `make bench GROWTH=1`."""
