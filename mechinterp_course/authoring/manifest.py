"""The manifest of a chapter: what the grader, the command line and the classroom know about it."""

import json

from mechinterp_course.authoring.chapter import Chapter
from mechinterp_course.authoring.exercises import Check, Exercise
from mechinterp_course.authoring.questions import Prediction

SCHEMA = 1


def manifest(chapter: Chapter) -> dict:
    """Return the manifest as plain values. It names hidden checks and levels, so no student view holds it."""
    return {
        "schema": SCHEMA,
        "chapter": chapter.slug,
        "title": chapter.title,
        "version": chapter.version,
        "source": chapter.source,
        "points": sum(exercise.points for exercise in chapter.exercises),
        "given": [{"id": c.id, "source": c.text} for c in chapter.cells if c.role == "given"],
        "exercises": [_exercise(exercise) for exercise in chapter.exercises],
        "rubrics": [{"id": r.id, "text": r.text, "levels": list(r.levels)} for r in chapter.rubrics],
        "interview": [{"id": c.id, "text": c.text} for c in chapter.cells if c.role == "interview"],
        "predict": [_prediction(prediction) for prediction in chapter.predictions],
    }


def manifest_json(chapter: Chapter) -> str:
    """Return the manifest's text as it is committed."""
    return json.dumps(manifest(chapter), indent=1, ensure_ascii=False) + "\n"


def view_metadata(chapter: Chapter) -> dict[str, str]:
    """Return what every view says about its origin, so that an old copy meets its own chapter."""
    return {"chapter": chapter.slug, "version": chapter.version, "source": chapter.source}


def _exercise(exercise: Exercise) -> dict:
    return {
        "name": exercise.name,
        "title": exercise.title,
        "minutes": exercise.minutes,
        "difficulty": exercise.difficulty,
        "needs": list(exercise.needs),
        "reference": exercise.reference,
        "withhold": list(exercise.withhold),
        "forbid": list(exercise.forbid),
        "was": exercise.was,
        "points": exercise.points,
        "ids": {"statement": exercise.statement.id, "solution": exercise.solution.id},
        "stub": exercise.stub,
        "hints": [hint.text for hint in exercise.hints],
        "checks": [_check(check) for check in exercise.checks],
    }


def _check(check: Check) -> dict:
    return {
        "name": check.name,
        "function": check.function,
        "id": check.id,
        "claim": check.claim,
        "points": check.points,
        "hidden": check.hidden,
    }


def _prediction(prediction: Prediction) -> dict:
    return {
        "id": prediction.id,
        "text": prediction.text,
        "choices": list(prediction.choices),
        "unit": prediction.unit,
        "tolerance": prediction.tolerance,
    }
