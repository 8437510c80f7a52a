"""Steps that nbgrader runs on a notebook, in place of ones that cost a student points or tell a secret."""

from nbclient.exceptions import DeadKernelError
from nbconvert.preprocessors import ClearMetadataPreprocessor, CSSHTMLHeaderPreprocessor
from nbformat import NotebookNode
from nbformat.v4 import new_output
from nbgrader.preprocessors import (
    AssignLatePenalties,
    CheckCellMetadata,
    ClearOutput,
    DeduplicateIds,
    Execute,
    GetGrades,
    IgnorePattern,
    LimitOutput,
    NbGraderPreprocessor,
    OverwriteCells,
    OverwriteKernelspec,
    SaveAutoGrades,
)

HIDDEN = "### BEGIN HIDDEN TESTS"
ENDED = 'raise RuntimeError("this cell ended the kernel")'


class CopiesAreOrdinaryCells(DeduplicateIds):
    """Take a copied cell for the student's own: nbgrader leaves it metadata that stop the whole batch."""

    def preprocess_cell(self, cell: NotebookNode, resources: dict, index: int) -> tuple[NotebookNode, dict]:
        """Return the cell, without nbgrader's metadata if one below it has the same id."""
        cell, resources = super().preprocess_cell(cell, resources, index)
        if cell.metadata.get("nbgrader") == {}:
            del cell.metadata["nbgrader"]
        return cell, resources


class ExecuteToTheEnd(Execute):
    """Run a notebook although some of its cells kill the kernel.

    nbgrader drops a notebook whose kernel dies. Here the cell that killed it counts as an error, and the
    notebook is run again without it.
    """

    def preprocess(self, nb: NotebookNode, resources: dict, km=None) -> tuple[NotebookNode, dict]:
        """Return the executed notebook, its sources as they were."""
        sources = [cell.source for cell in nb.cells]
        while True:
            try:
                nb, resources = super().preprocess(nb, resources, km)
                break
            except DeadKernelError:
                if nb.cells[self._running].source == ENDED:
                    raise
                nb.cells[self._running].source = ENDED
        for cell, source in zip(nb.cells, sources, strict=True):
            cell.source = source
        return nb, resources

    def preprocess_cell(self, cell: NotebookNode, resources: dict, index: int) -> tuple[NotebookNode, dict]:
        """Execute one cell, remembering which it is."""
        self._running = index
        return super().preprocess_cell(cell, resources, index)


class WarningsCostNothing(NbGraderPreprocessor):
    """Turn stderr into stdout: nbgrader gives no points to a check whose cell printed a warning."""

    def preprocess_cell(self, cell: NotebookNode, resources: dict, index: int) -> tuple[NotebookNode, dict]:
        """Return the cell with the names of its streams changed."""
        for output in cell.get("outputs", []):
            if output.output_type == "stream":
                output.name = "stdout"
        return cell, resources


class HiddenChecksStayHidden(NbGraderPreprocessor):
    """Cut hidden checks out of the feedback, which nbgrader shows with all they say."""

    def preprocess_cell(self, cell: NotebookNode, resources: dict, index: int) -> tuple[NotebookNode, dict]:
        """Return a hidden check as its first line and one word."""
        if HIDDEN in cell.source:
            failed = any(output.output_type == "error" for output in cell.outputs)
            cell.source = cell.source.split(HIDDEN)[0].strip()
            cell.outputs = [new_output("stream", text="not passed\n" if failed else "passed\n")]
        return cell, resources


SANITIZE = [ClearOutput, CopiesAreOrdinaryCells, OverwriteKernelspec, OverwriteCells, CheckCellMetadata]
AUTOGRADE = [
    ExecuteToTheEnd,
    WarningsCostNothing,
    IgnorePattern,
    ClearMetadataPreprocessor,
    LimitOutput,
    SaveAutoGrades,
    AssignLatePenalties,
    CheckCellMetadata,
]
FEEDBACK = [GetGrades, HiddenChecksStayHidden, CSSHTMLHeaderPreprocessor]
