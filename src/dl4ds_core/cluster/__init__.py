"""The workflow on a cluster: what runs where, what it costs, and how a run goes on after its end."""
