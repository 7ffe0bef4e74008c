"""Backups in another place, by restic in a container of its own (variants/backup/)."""
