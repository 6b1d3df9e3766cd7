"""The dashboard: what ``admin.dashboard`` serves as it stands here, without a build step and without anything from elsewhere."""
