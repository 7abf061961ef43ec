"""Encoders: adapters that turn pictures and texts into unit vectors of one space.

Importing this package imports none of them; :mod:`mmsearch.models` resolves a model's name to one.
"""
