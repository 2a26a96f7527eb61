"""Plan items as typed tables: a model, pure conversion, and atomic loads through SQLAlchemy Core. No HTTP."""
