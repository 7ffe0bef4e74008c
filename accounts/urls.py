"""Sign-in, sign-out and password reset pages, and the API's token.

https://docs.djangoproject.com/en/5.2/topics/auth/default/#module-django.contrib.auth.views
"""

from django.contrib.auth import views
from django.db.transaction import non_atomic_requests
from django.urls import path

from accounts.views import PasswordResetView, SignInView, TokenView

urlpatterns = [
    # The form needs no database, with ATOMIC_REQUESTS neither.
    path(
        "accounts/login/",
        non_atomic_requests(SignInView.as_view()),
        name="login",
    ),
    path("accounts/logout/", views.LogoutView.as_view(), name="logout"),
    path(
        "accounts/password_reset/",
        PasswordResetView.as_view(),
        name="password_reset",
    ),
    path(
        "accounts/password_reset/done/",
        views.PasswordResetDoneView.as_view(),
        name="password_reset_done",
    ),
    path(
        "accounts/reset/<uidb64>/<token>/",
        views.PasswordResetConfirmView.as_view(),
        name="password_reset_confirm",
    ),
    path(
        "accounts/reset/done/",
        views.PasswordResetCompleteView.as_view(),
        name="password_reset_complete",
    ),
    path("api/token/", TokenView.as_view(), name="token"),
]
