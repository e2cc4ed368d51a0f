"""The command line: exit codes, one JSON object, one line for bad input."""

import json
from pathlib import Path

import pytest

from tests.command import l2m

SANTA_FE = "santa-fe:beta=0.5,pairs=512,keys=64,documents=40"


def test_estimate_prints_one_json_object(folder: Path) -> None:
    done = l2m(
        "estimate", SANTA_FE, "--estimator", "profile", "--model", "oracle", "--shortest", "16", "--json", cwd=folder
    )
    assert done.returncode == 0
    assert json.loads(done.stdout)["beta"]["value"] == pytest.approx(0.5, abs=0.1)


def test_estimate_says_beta_law_and_care(folder: Path) -> None:
    done = l2m("estimate", SANTA_FE, "--shortest", "16", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "beta = " in done.stdout or "no beta" in done.stdout
    assert "neither a lower nor an upper bound" in done.stdout


def test_the_plan_of_an_estimate_is_what_it_would_do(folder: Path) -> None:
    words = ("estimate", "stdlib", "--estimator", "profile", "--model", "train")
    plan = json.loads(l2m(*words, "--dry-run", "--json", cwd=folder).stdout)
    assert plan["lengths"] == [32, 64, 128, 256, 512, 1024]


def test_text_that_tells_nothing_is_said_to_tell_nothing(folder: Path) -> None:
    (folder / "same.txt").write_text("a" * 200_000)
    done = l2m("estimate", "same.txt", cwd=folder)
    assert done.returncode == 0
    assert "no beta: no amount differs significantly from 0" in done.stdout
    assert "parts of them were resampled" in done.stdout


def test_estimate_trains_a_reference_model(folder: Path) -> None:
    done = l2m(
        "estimate", SANTA_FE, "--estimator", "profile", "--model", "train", "--shortest", "8", "--longest", "128",
        "--tokens", "4096", "--windows", "16", "--json", cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "reference model" in json.loads(done.stdout)["estimator"]
    assert len(json.loads(done.stdout)["losses_nats"]) == 256


def test_check_exits_by_its_answer(folder: Path) -> None:
    assert l2m("check", "growing.yaml", "--beta", "0.7", cwd=folder).returncode == 0
    no = l2m("check", "fixed.yaml", "--beta", "0.7", cwd=folder)
    assert no.returncode == 1
    assert "It does not meet the condition" in no.stdout


def test_check_holds_its_json_keys(folder: Path) -> None:
    done = l2m("check", "fixed.yaml", "--beta", "0.7", "--prefactor", "2", "--length", "4096", "--json", cwd=folder)
    answer = json.loads(done.stdout)
    promised = {"growth_exponent", "asked_exponent", "meets_growth", "state_elements", "state_bytes", "bytes_per_token",
                "length", "dtype", "reach_tokens", "layers", "parameters"}  # fmt: skip
    assert promised <= set(answer)
    assert set(answer["reach_tokens"]) == {"hard", "effective"}
    assert answer["state_elements"] == 64 * 8 + (64 + 16) * 3 + 2 * 16 * 32
    assert done.returncode == 1


def test_check_takes_the_demand_of_an_estimate(folder: Path) -> None:
    made = l2m(
        "estimate", SANTA_FE, "--estimator", "profile", "--model", "oracle", "--shortest", "16", "--json", cwd=folder
    )
    (folder / "demand.json").write_text(made.stdout)
    done = l2m("check", "growing.yaml", "--estimate", "demand.json", "--json", cwd=folder)
    asked = json.loads(done.stdout)["asked_exponent"]
    assert asked == pytest.approx(json.loads(made.stdout)["beta"]["high"], abs=0.02)


def test_check_counts_by_the_nats_of_an_eta_file_and_says_so(folder: Path) -> None:
    (folder / "eta.yaml").write_text("nats_by_kind: {mamba2: 0.000001, window: 0.000001, mla: 1.0}")
    words = ("check", "fixed.yaml", "--length", "1024")
    assumed, measured = (
        json.loads(l2m(*words, *more, "--json", cwd=folder).stdout) for more in ((), ("--eta", "eta.yaml"))
    )
    assert measured["demand"]["nats_by_kind"]["mla"] == 1.0
    assert measured["reach_tokens"]["hard"] == assumed["reach_tokens"]["hard"]
    assert all(measured["level_slack"][key] < assumed["level_slack"][key] - 5 for key in assumed["level_slack"])
    said = l2m(*words, "--eta", "eta.yaml", cwd=folder).stdout
    assert "1e-06 nats in window" in said
    assert "(measured on a source of known information" in said
    assert "mla" not in said
    assert "0.06 nats (assumed)" in l2m(*words, "--nats-per-element", "0.06", cwd=folder).stdout
    both = l2m(*words, "--eta", "eta.yaml", "--nats-per-element", "1", cwd=folder)
    assert (both.returncode, both.stderr.count("\n")) == (2, 1)
    assert "give only one of them" in both.stderr


def test_space_counts_drawings(folder: Path, repository: Path) -> None:
    done = l2m("space", str(repository / "search_spaces" / "hybrid.yaml"), "--json", cwd=folder)
    assert json.loads(done.stdout)["drawings"] == 331_776


def test_space_says_how_many_are_feasible_and_what_is_nearest_where_none_is(folder: Path, repository: Path) -> None:
    spaces = repository / "search_spaces"
    none = l2m("space", str(spaces / "ssm_window.yaml"), "--json", cwd=folder)
    answer = json.loads(none.stdout)
    assert none.returncode == 1
    assert (answer["feasible_share"], answer["feasible"], answer["sampled"]) == (0.0, None, 500)
    assert answer["feasible_interval"][1] < 0.01
    assert "smallest change: full attention in one layer" in answer["refusal"]
    assert answer["refusal"] in l2m("space", str(spaces / "ssm_window.yaml"), cwd=folder).stdout
    level = ("--enforce", "level", "--prefactor", "0.1")
    assert l2m("space", str(spaces / "ssm_window.yaml"), *level, cwd=folder).returncode == 0
    small = l2m("space", str(spaces / "hybrid.yaml"), "--set", "depth=2", "--set", "parameters=200000", cwd=folder)
    assert "of 576 (all checked) meet the condition: growth at beta = 0.7" in small.stdout


def test_space_prints_the_schema_of_spaces(folder: Path, repository: Path) -> None:
    done = l2m("space", "--schema", cwd=folder)
    assert done.stdout == (repository / "search_spaces" / "schema.json").read_text()


def test_train_writes_what_export_and_check_read(folder: Path) -> None:
    recipe = ("--set", "length=64", "--set", "tokens=1024", "--set", "batch_tokens=256", "--set", "windows=8")
    done = l2m("train", "growing.yaml", "--corpus", SANTA_FE, *recipe, "--out", "trained", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["tokens"] == 1024
    assert l2m("check", "trained/architecture.yaml", "--beta", "0.5", cwd=folder).returncode == 0
    again = l2m("train", "growing.yaml", "--corpus", SANTA_FE, *recipe, "--out", "trained", cwd=folder)
    assert again.returncode == 2
    assert "already contains files" in again.stderr


def test_export_loads_back_and_keeps_what_is_there(folder: Path) -> None:
    done = l2m("export", "fixed.yaml", "--out", "card", "--json", cwd=folder)
    answer = json.loads(done.stdout)
    assert answer["loads"]
    assert {"files", "format", "loads", "max_logit_difference"} <= set(answer)
    assert l2m("export", "fixed.yaml", "--out", "card", cwd=folder).returncode == 2
    assert l2m("export", "fixed.yaml", "--out", "card", "--force", cwd=folder).returncode == 0


def test_export_scales_a_drawing_and_judges_it_again(folder: Path, repository: Path) -> None:
    study = repository / "reports" / "quickstart"
    done = l2m("export", str(study), "--scale", "20M", "--out", "scaled", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    grown = json.loads(done.stdout)["scaled"]
    assert abs(grown["parameters"]["to"] / 20e6 - 1) < 0.02
    assert grown["verdict"]["meets_growth"]
    assert grown["verdict"]["meets_level"]
    assert grown["label"] == "remote code"
    card = json.loads((folder / "scaled" / "card.json").read_text())
    assert card["verdict"] == grown["verdict"]
    assert "test_loss" not in card["provenance"]  # measured on the small one
    plain = l2m("export", "scaled/card.json", "--scale", "30M", "--out", "again", cwd=folder)
    assert "capacity not checked" in plain.stdout


def test_doctor_finds_everything_needed(folder: Path) -> None:
    done = l2m("doctor", "--json", cwd=folder)
    assert done.returncode == 0
    assert json.loads(done.stdout)["works"]


def test_doctor_fails_where_the_gpu_to_verify_is_missing(folder: Path) -> None:
    done = l2m("doctor", "--gpu", "--json", cwd=folder, CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 1
    *_, gpu = json.loads(done.stdout)["checks"]
    assert gpu["found"].startswith("no CUDA device works; driver ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["estimate", "nowhere.txt"], "no such corpus"),
        (["estimate", "santa-fe:beta=1.5"], "beta"),
        (["estimate", "empty.txt"], "the corpus is empty"),
        (["estimate", "latin.txt"], "not UTF-8 text at byte 3"),
        (["estimate", "short.txt"], "a law needs 5"),
        (["estimate", SANTA_FE, "--longest", "99999"], "no document is as long as the required"),
        (["estimate", SANTA_FE, "--estimator", "profile"], "--model"),
        (["estimate", SANTA_FE, "--estimator", "profil"], "estimator"),
        (["estimate", "short.txt", "--estimator", "profile", "--model", "oracle"], "synthetic source"),
        (["check", "nowhere.yaml"], "No such file"),
        (["check", "fixed.yaml", "--beta", "1.2"], "--beta: must lie in (0, 1]"),
        (["check", "fixed.yaml", "--beta", "0"], "--beta: must lie in (0, 1]"),
        (["check", "fixed.yaml", "--end", "uper"], "end"),
        (["check", "fixed.yaml", "--estimate", "fixed.yaml"], "not the output of"),
        (["check", "fixed.yaml", "--set", "widht=3"], "did you mean 'width'"),
        (["check", "/dev/zero"], "is a device, must be a file"),
        (["check", "no\x1b[2Jwhere"], "no\\x1b[2Jwhere"),
        (["check", "."], "the folder contains neither an architecture.yaml nor a config.json"),
        (["space", "fixed.yaml"], "unknown key 'vocabulary'"),
        (["space"], "give the YAML file of a space"),
        (["space", "{hybrid}", "--enforce", "size"], "--enforce: found 'size', allowed: growth, level"),
        (["space", "{hybrid}", "--enforce", "level"], "needs --prefactor"),
        (["search", "nowhere.yaml"], "No such file"),
        (["search", "fixed.yaml"], "unknown key"),
        (["train", "fixed.yaml", "--corpus", "short.txt"], "no document is as long as the required"),
        (["train", "fixed.yaml", "--set", "token=3"], "did you mean 'tokens'"),
        (["train", "fixed.yaml", "--device", "gpu7", "--corpus", SANTA_FE, "--set", "length=64"], "device gpu7"),
        (["report", "nowhere"], "No such file"),
        (["export", "fixed.yaml", "--to", "onnx"], "--to: found 'onnx', allowed"),
        (["export", "fixed.yaml", "--scale", "many"], "--scale: found 'many'"),
        (["export", "fixed.yaml", "--scale", "nan"], "--scale: found 'nan'"),
        (["export", "fixed.yaml", "--scale", "2k"], "the nearest size of this architecture has"),
        (
            ["export", "fixed.yaml", "--scale", "9M", "--to", "huggingface", "--weights", "w"],
            "--weights: cannot be given together with --scale",
        ),
        (["export", "fixed.yaml", "--weights", "w.safetensors"], "--weights: format card contains no weights"),
        (["export", "fixed.yaml", "--out", "fixed.yaml"], "is not a folder"),
        (["export", "fixed.yaml", "--out", ".", "--force"], "is the current folder"),
        (["export", "fixed.yaml", "--to", "huggingface", "--weights", "nowhere"], "nowhere: not a weights file"),
        (["export", "fixed.yaml", "--to", "llama"], "--to llama: layers.0 (mamba2)"),
        (["check", "fixed.yaml", "--beta", "0.7", "--prefactor", "1e308"], "--prefactor: must lie in"),
        (["check", "itself.yaml", "--beta", "0.7"], "itself.yaml: must contain plain keys and values"),
        (["check", "listkey.yaml", "--beta", "0.7"], "listkey.yaml: not valid YAML"),
        (["space", "{hybrid}", "--set", "parameters=1000000000000000"], "no width meets"),
        (["search", "{quickstart}", "--tracking", "foo://bar"], "--tracking foo://bar"),
        (["search", "{quickstart}", "--reports", "short.txt", "--set", "name=x"], "--reports"),
        (["search", "{quickstart}", "--set", "demand={beta: 0.7, prefactor: 1e308}"], "demand.prefactor"),
        (["train", "small.yaml", "--dry-run"], "vocabulary: 64, the corpus stdlib has 256"),
        (["estimate", SANTA_FE, "--estimator", "profile", "--model", "train", "--split", "train"], "split"),
        (["check", "fixed.yaml", "--eta", "fixed.yaml"], "fixed.yaml: not a file that `l2m calibrate` wrote"),
        (["check", "fixed.yaml", "--eta", "nowhere.yaml"], "nowhere.yaml: No such file"),
        (["check", "fixed.yaml", "--eta", "eta.yaml"], "unknown mixer type 'windou'; did you mean 'window'?"),
        (["calibrate", "--kinds", "mamba2,windou"], "unknown mixer type 'windou'; did you mean 'window'?"),
        (["calibrate", "--lengths", "511"], "lengths.0: input should be a multiple of 4, found 511"),
        (["calibrate", "--lengths", "16"], "lengths.0: input should be greater than or equal to 64, found 16"),
        (["calibrate", "--steps", "0"], "steps"),
        (["calibrate", "--so-far"], "--so-far: runs/calibration/rows.jsonl contains no finished run"),
        (["calibrate", "--rates", "fast"], "rates"),
        (["calibrate", "--device", "gpu7"], "device gpu7"),
        (["calibrate", "--out", "eta.txt"], "must end in .yaml"),
        (["nonsense"], "nonsense"),
        (["check"], "architecture"),
        (["check", "fixed.yaml", "--length", "many"], "--length"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(words: list[str], said: str, folder: Path, repository: Path) -> None:
    (folder / "empty.txt").write_text("")
    (folder / "eta.yaml").write_text("nats_by_kind: {windou: 0.1}")
    (folder / "short.txt").write_text("too short")
    (folder / "latin.txt").write_bytes(b"caf\xe9")
    (folder / "itself.yaml").write_text("a: &x [*x]")
    (folder / "listkey.yaml").write_text("layers: [{? [1, 2] : 3}]")
    (folder / "small.yaml").write_text((folder / "fixed.yaml").read_text().replace("256", "64"))
    shipped = {"hybrid": repository / "search_spaces/hybrid.yaml", "quickstart": repository / "configs/quickstart.yaml"}
    words = [str(shipped[word.strip("{}")]) if word in ("{hybrid}", "{quickstart}") else word for word in words]
    done = l2m(*words, cwd=folder)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
