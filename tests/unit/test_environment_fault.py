"""How faults of the environment are printed."""

from ops.environment.fault import Fault, InvalidValueError, report


def test_fault_is_printed_with_its_hint_on_a_second_line() -> None:
    assert str(Fault("DB_HOST", "it is not set", "Set it.")) == (
        "DB_HOST: it is not set\n    Set it."
    )


def test_report_counts_the_faults_and_names_the_layer() -> None:
    faults = [
        Fault("DB_HOST", "it is not set", "Set it."),
        Fault("DB_NAME", "it is empty", "Fill it."),
    ]

    assert report(iter(faults[:1]), "dev") == (
        "The environment is not valid for the dev layer: 1 fault.\n"
        "  DB_HOST: it is not set\n"
        "      Set it."
    )
    assert report(faults, "production").splitlines() == [
        "The environment is not valid for the production layer: 2 faults.",
        "  DB_HOST: it is not set",
        "      Set it.",
        "  DB_NAME: it is empty",
        "      Fill it.",
    ]


def test_message_of_an_invalid_value_is_its_problem() -> None:
    error = InvalidValueError("it is no number", "Write digits.")

    assert (str(error), error.problem, error.hint) == (
        *("it is no number", "it is no number"),
        "Write digits.",
    )
