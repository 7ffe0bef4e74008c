"""Pictures that users send: checked, kept, and worked on behind the request."""
