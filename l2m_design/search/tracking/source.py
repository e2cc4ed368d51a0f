"""Where a run comes from: MLflow's tags of user, source and commit."""

import contextlib
import getpass
import sys
from pathlib import Path


def source_tags(folder: Path) -> dict[str, str]:
    """MLflow's tags of the user, the script and, where the folder lies in a repository of git, its commit."""
    from mlflow.utils import git_utils

    script = Path(sys.argv[0]).name
    named = script if script.endswith(".py") and not script.startswith("__") else "l2m search"
    tags = {"mlflow.source.name": named, "mlflow.source.type": "LOCAL"}
    with contextlib.suppress(KeyError, OSError):  # a container's user without a name
        tags["mlflow.user"] = getpass.getuser()
    place = str(folder)
    git = {"commit": git_utils.get_git_commit(place), "branch": git_utils.get_git_branch(place)}
    git["repoURL"] = git_utils.get_git_repo_url(place)
    return tags | {f"mlflow.source.git.{name}": value for name, value in git.items() if value}
