"""Runs inside a server: creates apps and migrations, and lints them with the migration gate.

Arguments: the script of the gate, and a writable folder. Prints the findings as JSON.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

MARK = "answer:"
SETTINGS = """from mysite.settings.production import *
INSTALLED_APPS += [
    "django.contrib.sites", "django.contrib.flatpages", "django.contrib.redirects", "shop",
]
SITE_ID = 1
MIGRATION_MODULES = {"demo": "more_demo"}
"""
HEAD = """from django.db import migrations, models
def fill(apps, schema_editor):
    Item.objects.all()
class Migration(migrations.Migration):
    dependencies = [{after!r}]
    operations = [{operations}]
"""
ADD = 'migrations.AddField("{}", "{}", models.IntegerField({}))'
# Operations on new tables, which the gate accepts.
SHOP = {
    "0001_initial": [
        'migrations.CreateModel("Item", [("id", models.AutoField(primary_key=True)), '
        '("name", models.CharField(max_length=9)), ("old", models.IntegerField())])',
        'migrations.CreateModel("Gone", [("id", models.AutoField(primary_key=True))])',
    ],
    "0002_columns": [
        ADD.format("item", "size", "default=1"),
        'migrations.RenameField("item", "name", "title")',
        'migrations.AlterField("item", "title", models.CharField(max_length=99))',
        'migrations.RemoveField("item", "old")',
        "migrations.RunPython(fill)",
    ],
    "0003_tables": [
        'migrations.AlterUniqueTogether("item", {("title", "size")})',
        'migrations.RenameModel("Item", "Thing")',
        'migrations.DeleteModel("Gone")',
        'migrations.RunSQL("ALTER TABLE shop_thing ADD weight int NOT NULL")',
    ],
    # Django looks up the constraint in the database, where it does not exist yet.
    "0004_renamed": [
        'migrations.AlterUniqueTogether("thing", set())',
        'migrations.RemoveField("thing", "size")',
    ],
}
# Operations on tables in use, most of which the gate refuses.
DEMO = {
    "9000_free": [
        ADD.format("upload", "color", "null=True"),
        ADD.format("upload", "depth", "db_default=0"),
        'migrations.RenameField("upload", "color", "shade")',
        'migrations.AddConstraint("upload", models.UniqueConstraint('
        'fields=("shade", "owner"), name="shades"))',
    ],
    "9001_no_default": [
        ADD.format("upload", "x", "db_default=1"),
        ADD.format("upload", "y", "default=1"),
    ],
    "9002_not_null": ['migrations.AlterField("upload", "shade", models.IntegerField(default=1))'],
    "9003_null_written": ['migrations.AlterField("upload", "finished", models.DateTimeField())'],
    "9004_drop": [
        'migrations.RemoveConstraint("upload", "shades")',
        'migrations.RemoveField("upload", "shade")',
        'migrations.RemoveField("upload", "error")',
    ],
    "9005_rename": ['migrations.RenameField("counter", "value", "number")'],
    "9006_table": [
        'migrations.RenameModel("Counter", "Number")',
        'migrations.RemoveField("number", "number")',
    ],
    "9007_unique": ['migrations.AlterUniqueTogether("upload", {("name", "owner")})'],
    "9008_sql": [
        'migrations.RunSQL(["ALTER TABLE demo_upload ADD z int NOT NULL, '
        'ADD zz int NOT NULL DEFAULT 1"])'
    ],
}


def write(folder: Path, app: str, migrations: dict[str, list[str]], after: str) -> None:
    """Write migrations, each depending on the previous one."""
    for name, operations in migrations.items():
        text = HEAD.format(after=(app, after), operations=", ".join(operations))
        text = text if after else text.replace(f"({app!r}, '')", "")
        (folder / f"{name}.py").write_text(text)
        after = name


def main() -> None:
    """Create the apps, and run the gate."""
    script, target = sys.argv[1:]
    root = Path(target) / "gate"
    shutil.rmtree(root, ignore_errors=True)
    shop = root / "shop" / "migrations"
    shop.mkdir(parents=True)
    for folder in (shop.parent, shop):
        (folder / "__init__.py").touch()
    write(shop, "shop", SHOP, "")
    shutil.copytree("/srv/project/demo/migrations", root / "more_demo")
    last = max(path.stem for path in (root / "more_demo").glob("0*.py"))
    write(root / "more_demo", "demo", DEMO, last)
    (root / "gate_settings.py").write_text(SETTINGS)
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "gate_settings",
        "PYTHONPATH": f"{root}:/srv/project",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    print(
        subprocess.run(
            [sys.executable, "-c", script, "lint", MARK],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout.partition(MARK)[2]
    )


if __name__ == "__main__":
    main()
