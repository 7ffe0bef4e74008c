"""Projects made of this tree: new ones, and their updates."""
