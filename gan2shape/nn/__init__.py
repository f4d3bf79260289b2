"""Networks: parameters and their forward passes, nothing else."""
