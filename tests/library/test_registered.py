"""An export as a version of a registered model."""

from pathlib import Path

import pytest

import l2m_design as l2m

LAYER = {"kind": "attention", "heads": 2, "kv_heads": 2, "head_dim": 8}
DRAWING = l2m.Architecture(vocabulary=256, width=16, layers=[LAYER])


def test_an_export_is_the_next_version_and_is_found_by_its_alias(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient, artifacts

    monkeypatch.chdir(tmp_path)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    for version in ("1", "2"):
        found = l2m.export(DRAWING, "card", f"out-{version}", register="it's small", tracking=uri)
        assert found["registered"] == {
            "name": "it's small",
            "version": version,
            "alias": "champion",
            "uri": "models:/it's small@champion",
        }
    known = MlflowClient(uri).get_model_version_by_alias("it's small", "champion")
    assert known.version == "2" or known.version == 2
    assert known.tags["drawing"] == DRAWING.fingerprint
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    fetched = Path(artifacts.download_artifacts("models:/it's small@champion", dst_path=str(tmp_path / "fetched")))
    written = {path.name: path.read_bytes() for path in Path("out-2").iterdir()}
    assert {path.name: path.read_bytes() for path in fetched.iterdir()} == written


def test_a_name_or_store_that_cannot_be_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    for register, tracking, message in (
        ("a/b", "sqlite:///x.db", "--register: found 'a/b'; a model's name must not be empty or contain"),
        ("ok", "ftp://x", "--tracking ftp://x: unknown kind of store"),
    ):
        with pytest.raises(l2m.BadInput, match=message):
            l2m.export(DRAWING, "card", tmp_path / "out", register=register, tracking=tracking)
        assert not (tmp_path / "out").exists()
    with pytest.raises(l2m.WorkFailed, match=r"--register: sqlite:////proc/nowhere/m[.]db failed: "):
        l2m.export(DRAWING, "card", tmp_path / "out", register="ok", tracking="sqlite:////proc/nowhere/m.db")
    assert (tmp_path / "out").exists()
