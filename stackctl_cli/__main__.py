"""`python -m stackctl_cli` is what ./stackctl runs."""

from .cli import main

main()
