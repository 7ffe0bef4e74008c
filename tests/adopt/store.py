"""A team's project as it was before: `startproject`, a REST app, one settings file, usual names."""

import os
import subprocess
import sys
from pathlib import Path

from tests.stack.stackctl.site import git

# What the team answers copier.
ANSWERS = {
    "name": "store_stack",
    "project": "..",
    "settings": "",
    "database": "mysql",
    "broker": "redis",
    "variants": [],
}
# Its package has the name that the stack's own has, and its app that of the stack's API.
SETTINGS = """
INSTALLED_APPS += ["rest_framework", "api"]
TEMPLATES[0]["DIRS"] = [BASE_DIR / "templates"]
STATICFILES_DIRS = [BASE_DIR / "static"]
MEDIA_ROOT = BASE_DIR / "media"
MEDIA_URL = "files/"
"""
FILES = {
    "requirements.txt": "Django~=5.2.0\ndjangorestframework\n",
    "Dockerfile": "FROM scratch\n",
    "docker-compose.yml": "services: {}\n",
    "nginx/site.conf": "# yours\n",
    # nginx/precompress leaves out what is tiny.
    "static/store.css": "body { color: navy }\n" * 100,
    "templates/home.html": (
        '{% load static %}<link rel="stylesheet" href="{% static "store.css" %}">The store\n'
    ),
    "api/__init__.py": "",
    "api/migrations/__init__.py": "",
    "api/models.py": """from django.db import models


class Book(models.Model):
    title = models.CharField(max_length=50)
    cover = models.FileField(upload_to="covers")
""",
    "api/admin.py": """from django.contrib import admin
from api.models import Book

admin.site.register(Book)
""",
    "mysite/urls.py": """from django.contrib import admin
from django.shortcuts import render
from django.urls import include, path
from rest_framework import routers, serializers, viewsets

from api.models import Book


class BookSerializer(serializers.ModelSerializer):
    class Meta:
        model = Book
        fields = "__all__"


class BookViewSet(viewsets.ModelViewSet):
    queryset = Book.objects.all()
    serializer_class = BookSerializer


router = routers.DefaultRouter()
router.register("books", BookViewSet)
urlpatterns = [
    path("", lambda request: render(request, "home.html")),
    path("admin/", admin.site.urls),
    path("api/", include(router.urls)),
]
""",
}


def start(folder: Path) -> Path:
    """Make the project in a repository of its own, with everything committed."""
    folder.mkdir()
    command = (sys.executable, "-P", "-m", "django", "startproject", "mysite", str(folder))
    subprocess.run(command, check=True, cwd=folder)
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text)
    with (folder / "mysite/settings.py").open("a") as settings:
        settings.write(SETTINGS)
    subprocess.run(
        [sys.executable, "manage.py", "makemigrations", "--verbosity", "0", "api"],
        cwd=folder,
        # Not the settings that pytest names.
        env={"PATH": os.environ["PATH"]},
        check=True,
    )
    committed(folder)
    return folder


def committed(folder: Path) -> None:
    """Put a project into a repository of its own."""
    git(folder, "init", "--quiet")
    (folder / ".git/info/exclude").write_text("__pycache__\n.venv\n")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "as it was")
