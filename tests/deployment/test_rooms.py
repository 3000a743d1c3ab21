"""The rooms of the folder say what they are for."""

from __future__ import annotations

import omnijet.deployment
import omnijet.deployment.deploy
import omnijet.deployment.planner


def test_each_room_says_what_it_is_for() -> None:
    rooms = (omnijet.deployment, omnijet.deployment.deploy, omnijet.deployment.planner)
    assert all((room.__doc__ or "").endswith(".") for room in rooms)
