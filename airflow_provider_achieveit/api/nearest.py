"""A guess at what was meant, for messages."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(text: str, known: Iterable[str]) -> str | None:
    """Return the known name nearest to a text in any case, or None where none is near."""
    by_folded = {name.casefold(): str(name) for name in known}
    near = get_close_matches(text.strip().casefold()[:200], by_folded, n=1)
    return by_folded[near[0]] if near else None


def did_you_mean(text: str, known: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the known name nearest to a text, or empty text."""
    near = nearest(text, known)
    return f" (did you mean {near!r}?)" if near else ""
