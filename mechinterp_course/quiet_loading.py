"""Load a model without a trace: nothing printed, no random state used, no thread left behind."""

import contextlib
import io
import logging
import os
import threading
import warnings
from collections.abc import Iterator

PROCESS_STATE = threading.RLock()  # standard output and the global generators belong to the whole process


@contextlib.contextmanager
def without_traces() -> Iterator[None]:
    """Silence progress bars and warnings, keep torch's random state, start no thread; one thread at a time.

    A progress bar's monitor and the tokenizers' pool are threads that outlive their work, and a process
    with threads can't be forked safely.
    """
    import torch

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    with (
        PROCESS_STATE,
        _silent_logs(),
        torch.random.fork_rng(devices=[]),
        contextlib.redirect_stdout(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _silent_logs() -> Iterator[None]:
    from transformers.utils import logging as transformers_logging

    bars, disabled = transformers_logging.is_progress_bar_enabled(), logging.root.manager.disable
    transformers_logging.disable_progress_bar()
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(disabled)
        if bars:
            transformers_logging.enable_progress_bar()
