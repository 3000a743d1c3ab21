"""What a user types next, and where."""

from __future__ import annotations

from omnijet.deployment.deploy.steps import STEPS
from omnijet.deployment.deploy.work import Work
from omnijet.runtime.files.names import shell_quoted


def next_lines(work: Work) -> list[str]:
    """Returns the lines for the user: how the device goes on, or how the bundle is asked."""
    order, folder, journal = work.order, work.folder, work.journal
    waits = [step for step in STEPS if step.on_device and not journal.is_done(step.name)]
    if waits and not work.host:
        why = waits[0].idle(work) or "it was not done"
        device = order.machine.device.title
        return [
            f"{waits[0].name} waits for {device}: {why}",
            "copy the deployment there:  " + copy_line(work),
            "and go on there:            " + resume_line(work),
            "or both from here:          give the same command line with --on USER@HOST",
        ]
    if work.host and not waits:
        return [f"the bundle is on {work.host}, in its folder of the deployment"]
    if waits:
        return []
    option = f" --engines {order.target}"
    if order.machine.library == "onnxruntime":
        option = "" if order.machine.device.name == "cpu" else " --provider cuda"
    return [f"next: omnijet chat {shell_quoted(folder.bundle)}{option}"]


def resume_line(work: Work) -> str:
    """Returns the line to type on the device, in the folder that the deployment was copied into."""
    return f"omnijet deploy --resume {shell_quoted(_named(work.folder.root.name))}"


def copy_line(work: Work) -> str:
    """Returns the line that copies a deployment into the home folder of a device."""
    root = shell_quoted(work.folder.root)
    return f"rsync -rt --partial --exclude=/{_pattern(work)}/float {root} USER@HOST:"


def _pattern(work: Work) -> str:
    """Returns the folder's name with what rsync takes for a pattern escaped, quoted for a shell."""
    name = "".join(f"\\{one}" if one in "*?[\\" else one for one in work.folder.root.name)
    return shell_quoted(name)


def _named(name: str) -> str:
    """Returns a relative path that no command takes for an option."""
    return f"./{name}" if name.startswith("-") else name
