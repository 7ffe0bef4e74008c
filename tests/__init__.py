"""The project's tests: unit, embedded (`make run`) and stack (real containers)."""
