"""A run on a Slurm cluster: every missing stage is a job, and stages that divide are arrays of jobs.

Slurm schedules, through submitit: there is no scheduler here. What is submitted where is in ``jobs``, what a job does
in ``task``, and what the waiting process shows in ``watch``.
"""
