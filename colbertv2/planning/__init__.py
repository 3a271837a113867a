"""What a plan will cost: seconds, memory and disk."""
