"""New projects from this template, their updates, and existing projects on the stack."""
