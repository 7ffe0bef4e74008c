"""The application: which settings are active, health, the visit counter, the status page."""
