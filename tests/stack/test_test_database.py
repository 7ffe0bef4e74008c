"""`manage.py test` in the running stack uses a separate database."""

from tests.stack.compose import Stack

USERS = (
    "import django; django.setup()\n"
    "from django.contrib.auth import get_user_model\n"
    "print(get_user_model().objects.count())"
)
DATABASES = (
    "import django; django.setup()\n"
    "from django.db import connection as c\n"
    "sql = {'mysql': 'SHOW DATABASES', 'postgresql': 'SELECT datname FROM pg_database'}[c.vendor]\n"
    "cursor = c.cursor(); cursor.execute(sql)\n"
    "print(sorted(row[0] for row in cursor.fetchall()))"
)


def test_manage_py_test_runs_in_the_stack_without_changing_its_data(local: Stack) -> None:
    users, databases = local.python_in("server1", USERS), local.python_in("server1", DATABASES)

    output = local.run_in("server1", "python", "manage.py", "test", "accounts")

    assert " passed" in output and "failed" not in output
    assert local.python_in("server1", USERS) == users
    assert local.python_in("server1", DATABASES) == databases
