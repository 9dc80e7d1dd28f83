"""Campaigns that many hosts share: numbered by the minute of their slot (202611210200), which no store counts up to."""

from datetime import datetime
from pathlib import Path

from tasks.campaigns.campaign import Campaign, open_campaign

_FIRST_SLOT = 10**11
"""A number of twelve digits is a minute of the calendar; smaller ones are counted in one store, and mean another
campaign in the next."""


def slot_campaign(root: Path, experiment: str, at: datetime) -> Campaign:
    """The campaign of that minute: the same whoever asks again. Nothing is made on disk."""
    return Campaign(experiment, root / experiment / f"{at:%Y%m%d%H%M}")


def pool_campaign(root: Path, experiment: str, *, now: datetime, new: bool = False) -> Campaign:
    """The latest that hosts share, or a new one of this minute: those that one store counted stay its own."""
    latest = open_campaign(root, experiment)
    is_shared = int(latest.folder.name) >= _FIRST_SLOT
    return latest if is_shared and not new else slot_campaign(root, experiment, now)
