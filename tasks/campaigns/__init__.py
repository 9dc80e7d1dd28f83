"""What has been measured: the store's folders, campaigns, and the results of their cells on disk."""
