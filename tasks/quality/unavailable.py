"""Why an engine's quality cannot be had: a reason for the result, never an error of the run."""


class Unavailable(Exception):
    """Says in a sentence what is lacking."""
