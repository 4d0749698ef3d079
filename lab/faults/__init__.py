"""Everything that can go wrong with the site, on command: which kinds there are, which hold, when they strike."""
