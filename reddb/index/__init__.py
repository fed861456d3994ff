"""Finding the nearest rows: distances, the turbo codes, the faiss calls.

May import the floor only. Sees arrays and row numbers; knows nothing of files, ids, collections or statements.
"""
