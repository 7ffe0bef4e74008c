"""The API: which settings are active, its description, errors."""
