"""`python -m tools.stackctl` is what ./stackctl runs."""

from .cli import main

main()
