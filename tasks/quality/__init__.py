"""Quality beside speed: log-probabilities of reference texts, greedy answers and a task, held against a reference."""
