"""Where it is written down what was sent: Airflow's task state store or a ledger table, which outlive a worker."""
