"""Joining a study: what a worker anywhere needs before it may take tickets."""

from l2m_design.corpus import open_corpus
from l2m_design.errors import BadInput
from l2m_design.model.backends import pick_device
from l2m_design.model.probes import probed
from l2m_design.search.study.storage import Say, Storage, check_file
from l2m_design.search.workers.shared import SharedStudy


def joined(name: str, url: str, say: Say, index: int) -> SharedStudy:
    """The study in the database; its corpus must be here, the same. Raises BadInput."""
    check_file(url)
    shared = SharedStudy(Storage(url, say=say), name, index=index)
    shared.storage.keep_grace(shared.descriptor.settings.grace_seconds)
    planned = shared.descriptor.corpus
    corpus = open_corpus(shared.descriptor.settings.corpus)
    if corpus.fingerprint != planned["fingerprint"]:
        raise BadInput(
            f"study {name}: its corpus {planned['name']} differs here ({corpus.fingerprint} instead of "
            f"{planned['fingerprint']})"
        )
    return shared


def check_kernels(wanted: tuple[str, ...], device: str) -> None:
    """Raises BadInput when a kernel that the study asks of every worker does not serve this device."""
    if not wanted:
        return
    _, probes = probed(pick_device(device))
    for name in wanted:
        own = [probe for probe in probes if probe.name == name]
        if not own:
            known = ", ".join(sorted({probe.name for probe in probes})) or "none for this device"
            raise BadInput(f"search.kernels: {name}: no such kernel here; known: {known}")
        if not any(probe.used for probe in own):
            raise BadInput(f"search.kernels: this study needs {name}, which does not serve here: {own[0].reason}")
