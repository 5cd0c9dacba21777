"""Where raw files come from: the web, hubs, package archives and registries, the user's own folders."""
