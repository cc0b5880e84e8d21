"""Secrets: names and values that are kept out of files, and others that only look so."""

from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import Command

from metalearn.run.command.command_line import refuse_secrets
from metalearn.run.directory.secret_names import is_secret
from metalearn.run.directory.secrets import redacted, refuse_written

TYPED = """++token=x|+passwd=x|+password=hunter2|+password=12345|+a={password:x}|+callbacks={x:{api_key:x}}|+tokens=[x]
+bearer=x|+key2=abc|+my.apiKey=x|~secret=x|+a=[{b:{auth:x}}]|+wandb.pat=x,y|token=a,'b c'|+credentials={user:u,x:y}
+DB_PWD=x|+x.PGPASSWORD=1|+secret_access_key=x|+accessKeyId=x|+private_key='a b'|+logger.x.client_secret=y
+OPENAI_KEY=x|+ssh.passphrase=x|hydra.job.env_set.HF_TOKEN=x|wandb.api_key=a b|++uri=https://u:x@h|+uri='s://u:a#b?c@h'
hydra.sweeper.storage=postgresql+psycopg://me:hunter2@host/db|+uri='https://h/x?api_key=abc&b=1'|+x=['redis://:pw@h']
+token@x=y"""

HARMLESS = """seed=1|algorithm.key_size=4|+monkey=a|tokens_per_batch=3|+keyboard=qwerty|+hidden=x|episode.train.way=5
+max_tokens=5|+dataset.text_key=text|+pad_token='[PAD]'|+num_tokens=7|+special_tokens=[a]|+use_auth=true|+token=null
+token=|+a.token=${oc.env:X}|+uri=https://u:${oc.env:P}@h|+uri=http://h:80/x|+path=/a:b@c|+password_file=/x
algorithm=key_value_memory|+author=me|+pattern=x|+compass=x|~token|+x={key_size:3,tokenizer:bert}
+patience=3|+keys=[a,b]|+turkey=1|+secretary=x|hydra.job.config.override_dirname.exclude_keys=[seed]|+a='${b}'
hydra.sweeper.storage=postgresql+psycopg://me@host/db|+wandb.api_key=null|+hf.tokenizer_path=x|+sort_key=name
+hf@wandb.token=x"""


@pytest.mark.parametrize("override", TYPED.replace("\n", "|").split("|"))
def test_a_typed_secret_is_refused(override: str) -> None:
    message = r"^[\w.\[\]]+ (looks like a secret|holds a password), which would be written down: use \$\{oc.env:NAME\}$"
    with pytest.raises(ValueError, match=message):
        refuse_secrets(["seed=1", override])


def test_what_only_looks_like_a_secret_passes() -> None:
    refuse_secrets(HARMLESS.replace("\n", "|").split("|"))


def test_variables_are_told_by_their_words() -> None:
    for name in "WANDB_API_KEY AWS_SECRET_ACCESS_KEY HF_TOKEN PGPASSWORD DB_PWD GITHUB_PAT GCP_CREDENTIALS".split():
        assert is_secret(name, "x"), name
    for name in "PATH HOME SSH_AUTH_SOCK XAUTHORITY KEYBOARD LESSKEY TOKENIZERS_PARALLELISM".split():
        assert not is_secret(name, "x"), name


def test_the_value_of_a_variable_is_refused_under_any_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_PAT", "ghp_abcdef")
    monkeypatch.setenv("SHORT_TOKEN", "seed")
    monkeypatch.setenv("GCP_CREDENTIALS", "/etc/gcp.json")
    refuse_secrets(["+note=seed", "paths.data=/etc/gcp.json"])
    with pytest.raises(ValueError, match=r"^note holds the value of GITHUB_PAT, which would be written down"):
        refuse_secrets(["+note='by ghp_abcdef'"])
    with pytest.raises(ValueError, match=r"^a\.b\[0\] holds the value of GITHUB_PAT"):
        refuse_written({"a": {"b": ["ghp_abcdef"]}})


def test_secrets_are_redacted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "hunter2")
    monkeypatch.setenv("SHORT_PAT", "in")
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:pass%2Fword@host/db")
    monkeypatch.setenv("PWD", "/home/me")
    config = {
        "wandb": {"api_key": "abc", "login": "hunter2", "auth": {"user": "x"}},
        "list": [{"Password": "x", "keys": None, "max_tokens": 5}],
        "monkey": "a",
        "uri": "https://me:hunter2@host and https://you:other@host/?token=1&b=2",
        "storage": "postgresql://me:pass%2Fword@host/db",
        "error": "wrong password pass/word for me",
        "short": ["in", "inside"],
        "cwd": "/home/me/x",
        "number": 3,
    }
    assert redacted(config) == {
        "wandb": {"api_key": "***", "login": "***", "auth": "***"},
        "list": [{"Password": "***", "keys": None, "max_tokens": 5}],
        "monkey": "a",
        "uri": "https://me:***@host and https://you:***@host/?token=***&b=2",
        "storage": "***",
        "error": "wrong password *** for me",
        "short": ["***", "inside"],
        "cwd": "/home/me/x",
        "number": 3,
    }


@pytest.mark.parametrize(
    "text",
    [
        "logger: {x: {deep: [{api_key: planted-a}]}}",
        "hydra: {job: {env_set: {HF_TOKEN: planted-a}}}",
        "hydra: {job: {env_copy: [PLANTED_PAT]}}",
    ],
)
def test_a_secret_in_a_config_file_is_refused_before_anything_is_written(
    metalearn: Command, environment: dict[str, str], tmp_path: Path, text: str
) -> None:
    (tmp_path / "conf/experiment").mkdir(parents=True)
    (tmp_path / "conf/experiment/own.yaml").write_text(f"# @package _global_\n{text}\n")
    typed = [f"hydra.searchpath=[file://{tmp_path}/conf]", "experiment=own", f"hydra.run.dir={tmp_path}/run"]
    done = metalearn(*typed, environment=environment | {"PLANTED_PAT": "planted-b"})
    assert done.code == 2
    assert done.text.startswith("metalearn: ") and "would be written down" in done.text
    assert not (tmp_path / "run").exists() and "planted-" not in done.text


def test_secrets_of_the_environment_are_in_no_file_of_a_run(
    metalearn: Command, environment: dict[str, str], tmp_path: Path
) -> None:
    secrets = {name: f"planted-{name.lower()}" for name in ("PGPASSWORD", "GITHUB_PAT", "GCP_CREDENTIALS", "HF_TOKEN")}
    secrets["DATABASE_URL"] = "postgresql://me:planted-url@host/db"
    typed = [
        "+vars.note='a ${oc.env:PGPASSWORD} b'",
        "+vars.deep=[{x:'${oc.env:GITHUB_PAT}'}]",
        "+vars.file='${oc.env:GCP_CREDENTIALS}'",
        "+vars.token='${oc.env:HF_TOKEN}'",
        "+vars.storage='${oc.env:DATABASE_URL}'",
        "+vars.uri='https://me:${oc.env:PGPASSWORD}@host'",
        *(["logger=wandb"] if find_spec("wandb") else []),
    ]
    done = metalearn(*typed, folder=tmp_path / "run", environment=environment | secrets)
    assert done.code == 0, done.text
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert {"hparams.yaml", "result.json", "best.ckpt", "config.yaml"} <= {path.name for path in files}
    assert "planted-" not in done.text
    assert [path for path in files if b"planted-" in path.read_bytes()] == []
    assert "a *** b" in (tmp_path / "run/hparams.yaml").read_text()


def test_the_message_of_an_error_is_without_secrets(metalearn: Command) -> None:
    finished = metalearn("experiment='https://me:hunter2@host'")
    assert finished.code == 2 and "hunter2" not in finished.text
