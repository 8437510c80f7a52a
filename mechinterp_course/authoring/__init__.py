"""One handwritten source per chapter, `solutions/<slug>/chapter.py`, and every view of it."""
