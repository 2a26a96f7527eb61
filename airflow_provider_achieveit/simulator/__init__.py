"""A local AchieveIt for development and tests: real HTTP(S), a real queue, faults on request.

``python -m airflow_provider_achieveit.simulator --port 8400`` starts it (extra ``simulator``); tests use
:func:`airflow_provider_achieveit.simulator.server.running`. It keeps the contract of the public documents strictly.
What only the simulator has lies below ``/_simulator/`` and is told in :mod:`.control`.
"""
