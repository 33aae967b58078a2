"""Backups of a site: kept in a folder by content, verified, put back. Knows no provider."""
