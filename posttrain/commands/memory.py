"""What the C library does with memory that was freed."""

import ctypes

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # parameters of mallopt(3), of glibc


def keep_freed_memory() -> None:
    """Let glibc keep what is freed, for the tensors to come.

    By default each large tensor is a mapping of its own, whose pages the kernel fills with zeros again every time. The
    process then never shrinks. Other C libraries stay as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, -1)
