"""One file per resource."""

from __future__ import annotations

import mmsearch.server.routes.facets as facets
import mmsearch.server.routes.files as files
import mmsearch.server.routes.health as health
import mmsearch.server.routes.heatmap as heatmap
import mmsearch.server.routes.items as items
import mmsearch.server.routes.page as page
import mmsearch.server.routes.search as search
import mmsearch.server.routes.status as status

ROUTERS = (search.router, health.router, facets.router, heatmap.router, files.router, items.router, status.router, page.router)
"""All routers; a path that is more special comes before one that would take it too."""
