"""The production stack in containers: start, requests, a deploy under load."""
