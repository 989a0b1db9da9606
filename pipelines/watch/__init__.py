"""Watches over live sources: notices that one is frozen or gone, and builds it anew until it runs again."""
