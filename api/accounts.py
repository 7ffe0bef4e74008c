"""Signing in and out at /accounts/.

https://docs.djangoproject.com/en/5.2/topics/auth/default/#module-django.contrib.auth.views
"""

from django.contrib.auth.views import LogoutView
from django.urls import path

from api.views.accounts import SignInView

urlpatterns = [
    path("login/", SignInView.as_view(redirect_authenticated_user=True), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
]
