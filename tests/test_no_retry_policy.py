"""Before Airflow 3.3 operators have no retry policy, and none is given to them."""

from __future__ import annotations

import subprocess
import sys

WITHOUT = """
import sys
import time
# As before Airflow 3.3: the module is not there.
sys.modules["airflow.sdk.definitions.retry_policy"] = None
from airflow.providers.common.compat.sdk import BaseOperator
from airflow_provider_achieveit.operators.updates import AchieveItSubmitProgressUpdatesOperator
given = []
init = BaseOperator.__init__.__wrapped__
def remember(self, **options):
    given.append(options)
    init(self, **options)
BaseOperator.__init__ = remember
AchieveItSubmitProgressUpdatesOperator(task_id="a", rows=[])
assert len(given) == 1 and "retry_policy" not in given[0], given
print("FINE")
"""


def test_before_airflow_3_3_there_is_none() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == ["FINE"], done.stderr
