"""The dashboard: what ``admin.dashboard`` serves as it stands here, without a build step and without anything from elsewhere."""

# By path: file and media type. They hold nothing of the proxy, so nobody needs a token for them; what they ask for needs it.
PAGE_FILES = {
    "/": ("dashboard.html", "text/html"),
    "/dashboard.css": ("dashboard.css", "text/css"),
    "/dashboard.js": ("dashboard.js", "text/javascript"),
    "/dashboard-parts.js": ("parts.js", "text/javascript"),
    "/dashboard-servers.js": ("servers.js", "text/javascript"),
    "/dashboard.svg": ("icon.svg", "image/svg+xml"),
}
