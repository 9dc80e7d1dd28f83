"""ORDER: flows and the command line. Flows decide nothing numeric; no class is defined here."""
