"""`python -m tests.bench`: the project's figures, measured in one run and held against their limits.

One module per figure. They are no tests: a busy machine makes them worse, so nothing that guards a change depends on
them. What they measure is the real thing, in a lab of its own.
"""
