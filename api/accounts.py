"""Signing in and out at /accounts/.

https://docs.djangoproject.com/en/5.2/topics/auth/default/#module-django.contrib.auth.views
"""

from django.contrib.auth.views import LoginView, LogoutView
from django.db.transaction import non_atomic_requests
from django.urls import path

urlpatterns = [
    # The form itself needs no database, with ATOMIC_REQUESTS neither.
    path(
        "login/",
        non_atomic_requests(LoginView.as_view(redirect_authenticated_user=True)),
        name="login",
    ),
    path("logout/", LogoutView.as_view(), name="logout"),
]
