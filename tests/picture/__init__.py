"""`python -m tests.picture`: records a real `pulumi up` in a lab of its own and draws docs/first-light.svg from it."""
