"""Fixtures: ledgers in real databases."""

from tests.stores.conftest import database as database
