"""What a shop needs beside nearness: products made of several items, facets with counts, changes of meta."""
