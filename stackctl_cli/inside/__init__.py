"""Scripts that are sent into containers and run there, with what each container has."""
