"""The sections of a report: each a function that returns markdown, or "" where it has nothing to say."""
