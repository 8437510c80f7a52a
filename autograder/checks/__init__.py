"""The chapters' checks and manifests, written by `python -m mechinterp_course.authoring`: no answers in here."""
