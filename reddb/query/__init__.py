"""From statements to plans, and from plans and rows to results.

May import storage, index, grammar and the floor; decides nothing about where a plan runs.
"""
