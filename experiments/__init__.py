"""WHAT to measure: vocabulary, expansion, identity, and the experiment files themselves. Nothing here acts."""
