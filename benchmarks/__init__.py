"""`make bench`: what the tiers in front of the application cost, against peers, in one run."""
