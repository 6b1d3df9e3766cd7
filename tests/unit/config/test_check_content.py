"""What is wrong with ``files`` and ``compress`` of wsproxy.toml is said, with what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsproxy.config import check_content
from wsproxy.config.settings_content import CompressSettings, FilesSettings
from wsproxy.config.settings_edge import EdgeSettings
from wsproxy.config.settings_file import load_text
from wsproxy.errors import ConfigRefusedError


def load(text: str, folder: Path) -> tuple[EdgeSettings, ...]:
    return load_text(text, folder / "wsproxy.toml").settings.edge


def flaws(text: str, folder: Path) -> str:
    with pytest.raises(ConfigRefusedError) as refused:
        load(text, folder)
    return str(refused.value)


def files(keys: str, paths: str = '"/static/*"') -> str:
    return f'[[edge]]\npaths = [{paths}]\nfiles = {{ root = ".", {keys} }}\n'


def compress(keys: str) -> str:
    return f"[[edge]]\ncompress = {{ {keys} }}\n"


def test_tables_are_read(tmp_path: Path) -> None:
    """A folder is relative to that of wsproxy.toml; `compress = {}` is what is sensible."""
    (tmp_path / "www").mkdir()
    text = '[[edge]]\nfiles = { root = "www", strip = "/a", index = ["x.htm"], precompressed = ["zst", "br", "gz"] }\n[[edge]]\ncompress = {}\n'
    first, second = load(text, tmp_path)
    assert first.files == FilesSettings(
        root=str(tmp_path / "www"),
        strip="/a",
        index=("x.htm",),
        precompressed=("zst", "br", "gz"),
    )
    assert second.compress == CompressSettings()
    assert CompressSettings().with_ == ("gzip",)


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ('strip = "static"', "allowed is the beginning of a path"),
        ('strip = "//static"', "allowed is the beginning of a path"),
        ('strip = "/st%61tic"', "allowed is the beginning of a path"),
        ('strip = "/static/.."', "allowed is the beginning of a path"),
        ('strip = "/other"', 'found "/other" with a path "/static/*"'),
        ('strip = "/stat"', 'found "/stat" with a path "/static/*"'),
        ('index = ["a/b"]', "allowed is the name of a file"),
        ('index = [""]', "allowed is the name of a file"),
        ('index = [".htaccess"]', "allowed is the name of a file"),
        ('index = "index.html"', "edge.files.index"),
        ('cache_control = "a\\nb"', "edge.files.cache_control"),
        ('cache_control = " "', "edge.files.cache_control"),
        ('charset = "utf-8; x"', "edge.files.charset"),
        ('precompressed = ["gz", "gz"]', "found an ending twice"),
        ('precompressed = ["lzma"]', "edge.files.precompressed"),
        ("precompressed = true", "edge.files.precompressed"),
        ('folder = "x"', "edge.files.folder"),
    ],
)
def test_flaw_of_files_is_told_where_it_stands(tmp_path: Path, keys: str, told: str) -> None:
    text = flaws(files(keys), tmp_path)
    assert told in text
    assert "wsproxy.toml:" in text


@pytest.mark.parametrize("strip", ["/static", "/static/", "/"])
def test_strip_that_fits_is_taken(tmp_path: Path, strip: str) -> None:
    assert load(files(f'strip = "{strip}"', '"/static/*", "/static"'), tmp_path)


def test_folder_must_be_there(tmp_path: Path) -> None:
    text = flaws('[[edge]]\nfiles = { root = "none" }\n', tmp_path)
    assert f'edge.files.root: found "{tmp_path}/none", which is no folder; allowed is one' in text


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ("with = []", "found none, or one twice"),
        ('with = ["gzip", "gzip"]', "found none, or one twice"),
        ('with = ["br"]', "edge.compress.with"),
        ("types = []", "nothing would be compressed"),
        ('types = ["Text/HTML"]', "allowed is a media type in lower case"),
        ('types = ["text/html; charset=utf-8"]', "allowed is a media type in lower case"),
        ('types = ["*/*"]', "allowed is a media type in lower case"),
        ('types = ["html"]', "allowed is a media type in lower case"),
        ("min_bytes = -1", "edge.compress.min_bytes"),
        ("level = 10", "edge.compress.level"),
    ],
)
def test_flaw_of_compression_is_told_where_it_stands(tmp_path: Path, keys: str, told: str) -> None:
    text = flaws(compress(keys), tmp_path)
    assert told in text
    assert "wsproxy.toml:" in text


def test_zstd_without_a_library_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the start, not with the first client that takes it; the word says what helps."""
    text = compress('with = ["zstd", "gzip"]')
    assert load(text, tmp_path)
    monkeypatch.setattr(check_content, "has_zstd", lambda: False)
    told = flaws(text, tmp_path)
    assert "pip install 'wsproxy[zstd]'" in told
    assert load(compress('with = ["gzip"]'), tmp_path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('mode = "directory"\ndirectory = "none"', "which is no folder"),
        ('mode = "directory"\ndirectory = "."\nindex = ["a/b"]', "allowed is the name of a file"),
        ('cache_control = "no-cache"', 'allowed with mode = "directory"'),
        ('precompressed = ["gz"]', 'allowed with mode = "directory"'),
    ],
)
def test_files_of_the_fallback_are_judged_by_the_same_rules(
    tmp_path: Path, text: str, told: str
) -> None:
    assert told in flaws(f"[fallback]\n{text}\n", tmp_path)
