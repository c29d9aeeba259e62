"""`samplejoin demo`: a real worker joins real data on a broker inside the demo, and shows what it does."""
