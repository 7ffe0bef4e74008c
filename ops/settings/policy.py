"""The Content-Security-Policy of every page. mysite/settings/ can override it."""

from ops.settings.stack import STATIC_ELSEWHERE

# A page loads from this site alone, and runs no inline script (docs/security.md). The bucket of
# static files counts as this site; `ops.csp` adds the bucket of uploads for images.
# https://django-csp.readthedocs.io/en/latest/configuration.html
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'", *STATIC_ELSEWHERE],
        "style-src": ["'self'", *STATIC_ELSEWHERE],
        # The admin's stylesheets carry some of its images in them.
        "img-src": ["'self'", "data:", *STATIC_ELSEWHERE],
        "font-src": ["'self'", *STATIC_ELSEWHERE],
        "connect-src": ["'self'"],
        "form-action": ["'self'"],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
    },
}
