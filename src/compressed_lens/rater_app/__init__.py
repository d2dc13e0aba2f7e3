"""The web app in which people rate: pages, sessions and their protection; it never sees which variant wrote a text."""
