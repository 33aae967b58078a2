"""A rollout at work: the new revision measured beside the old one, judged, promoted or rolled back."""
