"""The work of the administrative commands: checks of a job and its cluster, plans, access rights, reset, migration."""
