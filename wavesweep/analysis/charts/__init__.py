"""Charts: functions from tables to matplotlib figures."""
