"""Passwords in clear in a plugin-cfg.xml: each is found, with its line and without its value."""

from __future__ import annotations

import pytest

from wsproxy.config.open_secrets import open_secrets


def found(body: str, encoding: str = "utf-8") -> list[str]:
    text = f"<Config>\n{body}\n</Config>"
    head = f'<?xml version="1.0" encoding="{encoding}"?>' if encoding != "utf-8" else ""
    return [str(each) for each in open_secrets((head + text).encode(encoding), "p.xml")]


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ('<Property Name="password" Value="WebAS"/>', 'Property "password"'),
        ("<Property Value='WebAS' Name='Password'/>", 'Property "Password"'),
        ('<Property Name="trustStorePasswd" Value="WebAS"/>', 'Property "trustStorePasswd"'),
        ('<Property Name="pass&#119;ord" Value="WebAS"/>', 'Property "password"'),
        ('<Unknown keyPassphrase="WebAS"/>', "keyPassphrase"),
        ('<!-- <Property Name="password"\n Value="WebAS"/> -->', 'Property "password"'),
        ('<!-- SSLPKCSPassword="WebAS" -->', "SSLPKCSPassword"),
        ('<Property Name="password" name="x" Value="WebAS" value=""/>', 'Property "password"'),
        ('<Property Name="password">WebAS</Property>', 'Property "password"'),
        ("<keyPassword>WebAS</keyPassword>", "<keyPassword>"),
        ('<![CDATA[<Property Name="pwd" Value="WebAS"/>]]>', 'Property "pwd"'),
        ('<Log/> <![CDATA[password="WebAS"]]>', "password"),
        ('<?was password="WebAS"?>', "password"),
        ('<!-- <Property Name="pass&#119;ord" Value="WebAS"/> -->', 'Property "password"'),
        ('<p:x xmlns:p="u" p:secret="WebAS"/>', "secret"),
    ],
)
def test_each_is_found(body: str, name: str) -> None:
    """In a Property, an attribute, a comment; in any order and any case."""
    [said] = found(body)
    assert said.startswith(f"p.xml:2: found {name} with a value in clear")
    assert "allowed is a stash file on each proxy" in said
    assert "WebAS" not in said


@pytest.mark.parametrize(
    "body",
    [
        '<Property Name="keyring" Value="/k.kdb"/>',
        '<Property Name="stashfile" Value="/k.sth"/>',
        '<Property Name="password" Value=""/>',
        '<Property Name="passwordFile" Value="/etc/p"/>',
        "<!-- the password is in the stash file -->",
        '<Uri Name="/password/reset"/>',
    ],
)
def test_what_is_none(body: str) -> None:
    """Files, empty ones, words."""
    assert found(body) == []


@pytest.mark.parametrize("note", ['<!-- password="WebAS" -->', '<?was password="WebAS"?>'])
def test_beside_the_root(note: str) -> None:
    """Before it and behind it."""
    for text in (f"\n{note}<Config/>", f"\n<Config/>{note}"):
        [said] = map(str, open_secrets(text.strip().encode(), "p.xml"))
        assert "found password with a value in clear" in said
        assert "WebAS" not in said


def test_in_another_encoding() -> None:
    """What is not seen as bytes is seen all the same."""
    assert len(found('<Property Name="password" Value="WebAS"/>', "utf-16")) == 1
