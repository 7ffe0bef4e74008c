"""The stack in containers, as a team runs it: up, and a deploy under load."""
