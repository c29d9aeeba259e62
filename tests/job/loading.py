"""Job files to load."""

from __future__ import annotations

from tests.job.helpers import TEXT

SASL = TEXT + "security: {protocol: SASL_SSL, mechanism: PLAIN, username: bob, password: '%s'}\n"
