"""Users: the user model, sign-in and password reset pages, API tokens."""
