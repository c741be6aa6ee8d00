"""The plugin of prefect-auth-broker for Prefect. Empty, because each start of the environment's Python imports it."""
