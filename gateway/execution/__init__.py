"""What happens around and inside the execution of an operation."""
