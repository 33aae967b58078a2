"""Rollouts: their steps, what is judged at each, and what is remembered of them. Pure, but for the prompt file."""
