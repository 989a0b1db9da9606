"""The camera loop: sources, a bounded queue with a policy, the segment transform, sinks, and counts that add up."""
