"""Settings of Django without the stack's middleware and logging, mounted into its containers."""
