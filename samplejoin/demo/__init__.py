"""`samplejoin demo`: a real worker joins real data on a broker inside the demo while its figures are shown."""
