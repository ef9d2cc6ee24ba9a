"""A job's directory, the durable truth: records, leases, claims, results, and the paths that a job may touch."""
