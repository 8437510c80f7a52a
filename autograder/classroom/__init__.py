"""Hand chapters out and take them in through a teacher's tools."""
