"""Watch features of a dictionary while a language model generates, and steer them as it does.

watchlist.py says what is watched, and what is ordinary of it; calibration.py measures that. generation.py
runs the model a token at a time, reads and steers. rates.py compares rolling rates with what is ordinary.
store.py keeps what was seen. service.py puts these together behind one queue of prompts; server.py and
guard.py show them on a page that only its owner can drive.
"""
