"""Better orders for the hits of a search, one to a file; found by name through :mod:`mmsearch.registry`.

============ =========================================================================================
name         what it does
============ =========================================================================================
``tiles``    looks at the parts of pictures for small things, and says where they are
``fast``     takes hubs back (text queries), looks at neighbours of neighbours (picture queries)
``model``    compares again with a second, stronger encoder
``deep``     words look at each picture's cells: mini's matching head, or a matching model of the user's
``boost``    adds a formula over the items' fields
``mmr``      trades closeness for variety
``collapse`` keeps the best of each heap of near-duplicates
============ =========================================================================================
"""
