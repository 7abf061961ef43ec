"""Structures that find the nearest rows. All are derived from the stored rows and may be thrown away."""
