"""Text for people: strangers' words made printable, secrets masked, names that were meant."""
