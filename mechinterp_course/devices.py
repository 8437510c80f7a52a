"""Where models compute."""

from mechinterp_course.errors import CourseError


def choose_device(device: str) -> str:
    """Return "cpu" or "cuda". "auto" is the CPU: the embedded models are small, and every machine has one.

    Raises CourseError for another name, and for "cuda" where there is none.
    """
    if device not in ("cpu", "cuda", "auto"):
        raise CourseError(f"no device {device!r}; choose cpu, cuda or auto")
    if device != "cuda":
        return "cpu"
    import torch

    if not torch.cuda.is_available():
        raise CourseError("no CUDA device here; use --device cpu")
    return "cuda"
