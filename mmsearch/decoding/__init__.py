"""The processes that decode: :mod:`~mmsearch.decoding.worker` is their program, the rest is their parent's side.

Used through :class:`mmsearch.decoding.loader.Loader`.
"""
