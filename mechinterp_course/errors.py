"""The one exception for what a user can put right."""


class CourseError(Exception):
    """Something the user can fix; its message is one line that names the next command.

    The command line prints the message without a traceback and exits with `status`
    (2: unusable arguments, 3: the grader itself could not finish).
    """

    def __init__(self, message: str, status: int = 2):
        super().__init__(message)
        self.status = status


class WithheldAnswer(Exception):
    """Raised in place of a library function while a student's own version of it is being graded."""
