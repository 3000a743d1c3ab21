"""Which replica a request goes to. Ray loads this module where requests come in."""

from __future__ import annotations

import random
from typing import Any

from ray.serve.experimental.consistent_hash_router import ConsistentHashRouter


class SessionRouter(ConsistentHashRouter):
    """Sends the requests of a session to one replica, all others to the idler of two.

    A session is what the header `x-session-id` says. Which replica it goes to follows from the
    names alone, so that every entrance of a cluster says the same; when replicas come and go, few
    sessions move. One that is gone is passed over.
    """

    async def choose_replicas(
        self, candidate_replicas: list[Any], pending_request: Any = None
    ) -> list[list[Any]]:
        """Returns the replicas to try, in ranks; of a rank the idlest is taken."""
        if pending_request is None or pending_request.metadata.session_id:
            return list(await super().choose_replicas(candidate_replicas, pending_request))
        pending_request.routing_context.should_backoff = True
        return [random.sample(candidate_replicas, min(2, len(candidate_replicas)))]
