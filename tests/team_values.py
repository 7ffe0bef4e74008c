"""Values for the variables that the project requires, for tests that load its settings."""

from ops.environment.contract import PROJECT
from ops.environment.variable import Kind, Variable

EXAMPLES = {
    Kind.URL: "https://example.com",
    Kind.DATABASE_URL: "sqlite:///var/other.sqlite3",
    Kind.BOOL: "true",
    Kind.PORT: "8000",
}


def required_values() -> dict[str, str]:
    """Return a value for each required variable: its default for tests, or an example."""
    return {variable.name: example(variable) for variable in PROJECT if variable.required_in}


def example(variable: Variable) -> str:
    """Return a value that a variable accepts."""
    number = str(variable.minimum or 1) if variable.kind is Kind.INT else ""
    choice = variable.choices[0] if variable.choices else ""
    default = variable.default_in("test") or choice or number
    return default or EXAMPLES.get(variable.kind, "example")
