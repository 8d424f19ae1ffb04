"""The run: jobs, their order, processes, costs, lock files."""
