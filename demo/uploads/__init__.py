"""Images that users send: checked, kept, and processed after the request."""
