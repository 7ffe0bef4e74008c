"""The project's own environment variables, each declared here once. Then: `./manage.py env write`.

Settings read them as they read the stack's: `env.str("SHOP_API_KEY")`, `env.int("SHOP_LIMIT")`.
"""

from typing import Final

from ops.environment.variable import Variable

# docs/your-app.md describes the arguments. For example, with SHARED and Kind imported too:
#     Variable(
#         name="SHOP_API_KEY",
#         help="The key of the payment service.",
#         secret=True,
#         required_in=SHARED,
#     ),
VARIABLES: Final[tuple[Variable, ...]] = ()
