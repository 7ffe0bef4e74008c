"""The ASGI application, which the servers load where APP_SERVER is asgi."""

import os

from django.core.asgi import get_asgi_application

from ops import environment, startup

environment.read_dotenv()
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings.local")

application = get_asgi_application()

startup.check_project()
