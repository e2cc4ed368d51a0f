"""Where a run comes from: MLflow's tags of user, source and commit."""

import contextlib
import getpass
import sys
from pathlib import Path

SOURCE = "mlflow.source."


def source_tags(command: str, folder: Path | None = None) -> dict[str, str]:
    """MLflow's tags of the user, the script that runs (else the command) and the commit of the folder (else the current
    one), where that lies in a repository of git.
    """
    script, place = Path(sys.argv[0]).name, str(folder or Path.cwd())
    named = script if script.endswith(".py") and not script.startswith("__") else command
    tags: dict[str, str | None] = {f"{SOURCE}name": named, f"{SOURCE}type": "LOCAL"}
    with contextlib.suppress(KeyError, OSError):  # a container's user without a name
        tags["mlflow.user"] = getpass.getuser()
    with contextlib.suppress(ImportError, AttributeError):  # of a later MLflow: a tag less
        from mlflow.utils import git_utils

        tags[f"{SOURCE}git.commit"] = git_utils.get_git_commit(place)
        tags[f"{SOURCE}git.branch"] = git_utils.get_git_branch(place)
        tags[f"{SOURCE}git.repoURL"] = git_utils.get_git_repo_url(place)
    return {name: value for name, value in tags.items() if value}
