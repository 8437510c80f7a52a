"""Worlds that know the truth: generators of text and token sequences with their labels."""
