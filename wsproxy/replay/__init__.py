"""A log's decisions taken again by the live code, and what comes of the comparison."""
