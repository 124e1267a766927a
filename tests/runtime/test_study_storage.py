"""Where a study is kept: URLs, and a journal that a kill cut short."""

import json
from pathlib import Path

import optuna
import pytest
from sqlalchemy.exc import SQLAlchemyError

from wavesweep.errors import SettingsError, StoreError
from wavesweep.runtime import study_storage
from wavesweep.runtime.study_storage import open_storage, reporting_storage_errors, storage_url, without_password


def made_in(url):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(study_name="one", storage=open_storage(url))
    study.tell(study.ask(), 1.0)


def trials_in(url):
    return optuna.load_study(study_name="one", storage=open_storage(url)).trials


def test_a_study_lies_in_its_directory_unless_a_url_is_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    url = storage_url(None, Path("outputs/studies/one"))
    made_in(url)
    assert (tmp_path / "outputs" / "studies" / "one" / "study.db").exists()
    assert len(trials_in(url)) == 1
    assert storage_url("journal:///tmp/x", Path("any")) == "journal:///tmp/x"


@pytest.mark.parametrize("form", ["sqlite:///{0}/a b/study.db", "journal://{0}/a%20b/study.log", "sqlite:///rel.db"])
def test_the_directory_of_a_storage_is_made(tmp_path, monkeypatch, form):
    monkeypatch.chdir(tmp_path)
    made_in(form.format(tmp_path))
    (file,) = [path for path in tmp_path.rglob("*") if path.suffix in (".db", ".log")]
    assert file.parent == (tmp_path if "rel" in form else tmp_path / "a b")
    assert len(trials_in(form.format(tmp_path))) == 1


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("nonsense", "must be sqlite:///PATH, journal:///PATH or postgresql://USER@HOST/DATABASE"),
        ("ftp://host/x", "must be sqlite:///PATH, journal:///PATH or postgresql://USER@HOST/DATABASE"),
        ("journal://relative.log", "must be journal:///ABSOLUTE/PATH; begin the path with a slash"),
        ("journal:///dev/null/x/y.log", "cannot be written (Not a directory); choose another place"),
        ("sqlite:////dev/null/x/y.db", "cannot be written (Not a directory); choose another place"),
        ("mysql://host/x", "needs a driver: "),
        (f"sqlite:////tmp/{'/'.join(['d' * 90] * 7)}/x.db", "must have a path of at most 500 bytes, as SQLite"),
    ],
)
def test_a_url_that_cannot_be_used_is_one_line(url, text):
    with pytest.raises(SettingsError) as raised:
        open_storage(url)
    assert str(raised.value).startswith(f"search.storage={url}: {text}")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite+pysqlite:///:memory:",
        "sqlite:///file::memory:?uri=true",
        "sqlite:///file:x?mode=memory&cache=shared&uri=true",
    ],
)
def test_a_study_in_memory_is_refused_since_it_would_be_forgotten(url):
    with pytest.raises(SettingsError) as raised:
        storage_url(url, Path("any"))
    assert str(raised.value).startswith(f"search.storage={url}: keeps the study in memory")
    assert "sqlite:////ABSOLUTE/PATH.db" in str(raised.value)


def test_a_missing_driver_of_postgresql_names_the_extra(monkeypatch):
    def without_driver(url, engine_kwargs):
        raise ImportError(f"no driver for {url.partition('//')[0]}")

    monkeypatch.setattr(study_storage, "RDBStorage", without_driver)
    with pytest.raises(SettingsError) as raised:
        open_storage("postgresql://me:secret@host/x")
    assert str(raised.value) == (
        "search.storage=postgresql://me:***@host/x: needs a driver: no driver for postgresql+psycopg:; "
        'pip install "wavesweep[postgresql]"'
    )


def test_a_file_that_is_no_database_is_one_line(tmp_path):
    (tmp_path / "study.db").write_text("Not a database, but long enough to be taken for one. " * 40)
    url = f"sqlite:///{tmp_path / 'study.db'}"
    with pytest.raises(StoreError) as raised, reporting_storage_errors(url):
        open_storage(url)
    assert str(raised.value).startswith(f"search.storage={url}: file is not a database; ")
    assert "\n" not in str(raised.value)


def test_a_storage_that_fails_later_is_one_line(tmp_path):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    made_in(url)
    opened = open_storage(url)
    (tmp_path / "study.db").write_bytes(b"")
    with pytest.raises(StoreError, match=r"^search\.storage=sqlite:.*no such table"), reporting_storage_errors(url):
        optuna.load_study(study_name="one", storage=opened)
    with pytest.raises(ValueError, match="not ours"), reporting_storage_errors(url):
        raise ValueError("not ours")
    with pytest.raises(StoreError, match="first line; "), reporting_storage_errors(url):
        raise SQLAlchemyError("first line\nsecond")


@pytest.mark.parametrize("rest", ['{"op_code":', '{"op_code":4,"worker_id":"a"}', "\0" * 5000])
def test_a_journal_whose_last_line_a_kill_cut_short_goes_on(tmp_path, rest):
    url, file = f"journal://{tmp_path / 'study.log'}", tmp_path / "study.log"
    made_in(url)
    whole = file.read_bytes()
    with file.open("a") as cut:
        cut.write(rest)
    study = optuna.load_study(study_name="one", storage=open_storage(url))
    assert len(study.trials) == 1
    study.tell(study.ask(), 2.0)
    assert [trial.value for trial in trials_in(url)] == [1.0, 2.0]
    assert file.read_bytes().startswith(whole)
    assert all(json.loads(line) for line in file.read_text().splitlines())


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"no JSON at all", "is not JSON"),
        (b"\xff\xfe{}", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[1]", "is not a JSON object"),
        (b"{}", "missing required field `op_code`"),
        (b'{"op_code":"4","worker_id":"a"}', "Expected `int`, got `str`"),
        (b'{"op_code":99,"worker_id":"a"}', "Optuna cannot apply it: AssertionError"),
        (b'{"op_code":4,"worker_id":"a"}', "Optuna cannot apply it: KeyError"),
    ],
)
@pytest.mark.parametrize("is_open", [True, False])
def test_a_damaged_line_of_a_journal_is_named_with_the_remedy(tmp_path, line, reason, is_open):
    url, file = f"journal://{tmp_path / 'study.log'}", tmp_path / "study.log"
    made_in(url)
    study = optuna.load_study(study_name="one", storage=open_storage(url)) if is_open else None
    before = file.read_bytes()
    file.write_bytes(before + line + b"\n" + before.splitlines(keepends=True)[-1])
    with pytest.raises(StoreError) as raised:
        study.ask() if study else trials_in(url)
    text, number = str(raised.value), len(before.splitlines()) + 1
    assert text.startswith(f"search.storage: line {number} of {file} is damaged (")
    assert reason in text
    assert "remove that line" in text
    assert "\n" not in text
    file.write_bytes(before)
    assert len(trials_in(url)) == 1


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("postgresql://me:se:cret@host:5432/x", "postgresql://me:***@host:5432/x"),
        ("postgresql://me@host:5432/x", "postgresql://me@host:5432/x"),
        ("sqlite:////a:b@c/d.db", "sqlite:////a:b@c/d.db"),
        ("journal:///a/b.log", "journal:///a/b.log"),
    ],
)
def test_a_password_is_not_shown(url, text):
    assert without_password(url) == text


def test_what_a_password_opens_does_not_print_it():
    url = "postgresql://me:secret@127.0.0.1:9/x?connect_timeout=2"
    with pytest.raises(StoreError) as raised, reporting_storage_errors(url):
        open_storage(url)
    assert "secret" not in str(raised.value)
    assert "start the database" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["q?x=1", "p%41", "a b", "c#d", "é"])
def test_a_study_lies_in_its_directory_whatever_its_name(tmp_path, name):
    directory = tmp_path / name
    directory.mkdir()
    open_storage(storage_url(None, directory))
    assert (directory / "study.db").exists()
    assert [path.name for path in tmp_path.iterdir()] == [name]
