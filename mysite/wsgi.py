"""The WSGI application that uWSGI loads."""

import os

from django.core.wsgi import get_wsgi_application

from ops import environment, startup

environment.read_dotenv()
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings.local")

application = get_wsgi_application()

startup.check_project()
