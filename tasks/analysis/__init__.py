"""Pure numpy: latency, goodput, intervals, capacity, validity. The only definitions of any published figure."""
