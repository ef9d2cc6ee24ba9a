"""Files where others may write: folders held by a descriptor, inputs opened once."""
