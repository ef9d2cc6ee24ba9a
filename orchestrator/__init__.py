"""The job system around the engine. Not built yet: see CHANGELOG."""
