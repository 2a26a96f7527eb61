"""The sync history page: what the ledger says, for people, inside Airflow (3.1 and later)."""
