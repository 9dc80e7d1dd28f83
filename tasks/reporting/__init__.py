"""Tables, plots and pages from what was measured."""
