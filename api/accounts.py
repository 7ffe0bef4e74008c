"""Signing in and out at /accounts/, with Django's own views.

https://docs.djangoproject.com/en/5.2/topics/auth/default/#module-django.contrib.auth.views
"""

from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path

urlpatterns = [
    path("login/", LoginView.as_view(redirect_authenticated_user=True), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
]
