"""The lean runtime: runs a bundle on one frame with numpy and the native core, nothing else."""
