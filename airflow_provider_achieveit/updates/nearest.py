"""A guess at what was meant, for messages."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(text: str, known: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the known name nearest to a text in any case, or empty text."""
    by_folded = {name.casefold(): name for name in known}
    near = get_close_matches(text.strip().casefold()[:200], by_folded, n=1)
    return f" (did you mean {str(by_folded[near[0]])!r}?)" if near else ""
