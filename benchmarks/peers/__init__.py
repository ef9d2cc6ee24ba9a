"""What a user would pick instead, each behind a plain function."""
