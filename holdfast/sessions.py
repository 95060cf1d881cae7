"""ONNX Runtime sessions over a bundle's graphs, set up the same way wherever one is opened."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from holdfast.errors import MissingExtraError

if TYPE_CHECKING:
    import onnxruntime as ort

    from holdfast.bundle import Bundle

logger = logging.getLogger(__name__)

#: Errors only. ONNX Runtime's warnings tell how it optimised a graph, which no operator can act on.
_LOG_ERRORS = 3


def open_session(
    bundle: Bundle, graph: str, *, threads: int = 0, providers: list[str] | None = None
) -> ort.InferenceSession:
    """Open one of the bundle's graphs for inference.

    Args:
        bundle: The opened bundle; its weights file is mapped, not copied, for each graph.
        graph: The graph's file name, e.g. ``predict.onnx``.
        threads: Threads for one operator; 0 lets ONNX Runtime take every physical core.
        providers: Execution providers, first choice first; by default CUDA where it is there, then CPU.

    Raises:
        MissingExtraError: ONNX Runtime is not installed.
        MissingFileError: The bundle has no such graph.
    """
    try:
        import onnxruntime as ort
    except ModuleNotFoundError:
        raise MissingExtraError("onnxruntime", "serve", "Running a bundle") from None
    path = bundle.path(graph)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _LOG_ERRORS
    # Threads that spin between requests take the cores from whoever prepares the next one.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if providers is None:
        wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")
        providers = [name for name in wanted if name in ort.get_available_providers()]
    session = ort.InferenceSession(str(path), options, providers=providers)
    _say_where(session, graph, providers)
    return session


def _say_where(session: ort.InferenceSession, graph: str, wanted: list[str]) -> None:
    """Log where a graph runs, loudly where that is not what was asked for first."""
    running = session.get_providers()
    if running[:1] != wanted[:1]:
        logger.warning(
            "%s runs on %s: %s was asked for, and ONNX Runtime could not open it here",
            graph,
            running[0],
            wanted[0],
        )
    else:
        logger.debug("%s runs on %s", graph, running[0])
