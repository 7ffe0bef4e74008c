"""`./stackctl check`: a browser visits the site, and what is wrong becomes a list of findings."""
