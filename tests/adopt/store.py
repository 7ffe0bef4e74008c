"""An existing project: `startproject`, a REST app, one settings file, common names."""

import os
import subprocess
import sys
from pathlib import Path

from tests.stack.stackctl.site import git

# The answers to copier.
ANSWERS = {
    "_src_path": "git+https://example.com/stack.git",
    "name": "store_stack",
    "project": "..",
    "settings": "",
    "database": "mysql",
    "broker": "redis",
    "variants": [],
}
# The package has the name of the stack's own package, and the app that of the stack's API.
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
    # Large enough for nginx/precompress.
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


def create_store(folder: Path) -> Path:
    """Create the project in its own repository, with everything committed."""
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
        # Without the DJANGO_SETTINGS_MODULE of pytest.
        env={"PATH": os.environ["PATH"]},
        check=True,
    )
    commit_project(folder)
    return folder


def commit_project(folder: Path) -> None:
    """Commit a project into its own repository."""
    git(folder, "init", "--quiet")
    (folder / ".git/info/exclude").write_text("__pycache__\n.venv\n")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "the project")
