"""Credentials do not get past `redacted`, however they are spelt."""

from __future__ import annotations

import string
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lineside.pipelines.secrets import address_of, redacted, shown
from lineside.runtime.errors import SourceError

SIGNS = st.text(string.ascii_letters + string.digits + ":/?#[]@!$&()*+,;=-._~%|^`{}\\", min_size=6, max_size=20)
ANY = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20)
PUBLIC = "rtsp://***@10.0.0.5:554/line"


@given(SIGNS)
@example("pa@ss/w:rd?#@")
def test_addresses(password: str) -> None:
    """As it should be written, and as people write it."""
    for spelling in (password, quote(password, safe="")):
        text = redacted(f'could not open "rtsp://kim:{spelling}@10.0.0.5:554/line".')
        assert text == f'could not open "{PUBLIC}".'


@given(ANY, ANY)
def test_an_address_taken_apart(user: str, password: str) -> None:
    found = address_of(f"rtsp://{quote(user, safe='')}:{quote(password, safe='')}@10.0.0.5:554/line?a=b@c")
    assert (found.public, found.user, found.password) == ("rtsp://10.0.0.5:554/line?a=b@c", user, password)
    assert repr(found) == "Address('rtsp://10.0.0.5:554/line?a=b@c')"


@pytest.mark.parametrize(
    "url", ["rtsp://camera", "rtsp://[fe80::1]:554/x", "rtsps://cam.local:8554/a/b?c=d#e", "rtsp://10.0.0.5/@1"]
)
def test_an_address_without_credentials(url: str) -> None:
    found = address_of(url)
    assert (found.public, found.user, found.password) == (url, "", "")


def test_an_address_with_a_user_alone() -> None:
    found = address_of("rtsp://kim@camera")
    assert (found.public, found.user, found.password) == ("rtsp://camera", "kim", "")


@pytest.mark.parametrize(
    "url", ["", "camera", "rtsp:camera", "://x", "rtsp://", "rtsp://a:secret/1@camera", "rtsp://kim:se#cret@camera"]
)
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(SourceError) as caught:
        address_of(url)
    assert "secret" not in str(caught.value) and "cret" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "rtspsrc location=rtsp://camera user-id=kim user-pw=hush5 latency=100",
        'rtspsrc user-pw="hush5 and more" ! fakesink',
        "rtspsrc user-pw=(string)hush5 ! fakesink",
        "password: hush5\n",
        '{"password": "hush5", "user": "kim"}',
        "{'password': 'hush5'}",
        "GET /?token=hush5&x=1",
        "Authorization: Basic hush5==\r\nCSeq: 2",
        "Proxy-Authorization: Digest username=x, response=hush5",
        "rtsp_password=hush5;api-key=hush5",
        "rtsp://a:hush5@one,rtsp://b:hush5@two",
        "RTSP://A:hush5@ONE",
    ],
)
def test_texts(text: str) -> None:
    clean = redacted(text)
    assert "hush5" not in clean and "***" in clean
    assert redacted(clean) == clean


@pytest.mark.parametrize(
    "text", ["", "no video in it", "latency=100 codec=h264", "a@b.example wrote", "rtsp://camera:554/line"]
)
def test_plain_texts_stay(text: str) -> None:
    assert redacted(text) == text


@given(SIGNS, st.sampled_from([str, lambda it: quote(it, safe=""), quote]))
def test_known_secrets_go_from_anywhere(secret: str, spelt: object) -> None:
    text = redacted(f"<<{spelt(secret)}>>", secret)  # type: ignore[operator]
    assert text == "<<***>>"


@pytest.mark.parametrize("name", ["password", "user", "user-pw", "api_key", "camera-token"])
@pytest.mark.parametrize("value", ["hush5", 50505, ["hush5"]])
def test_values_by_the_name_of_a_secret(name: str, value: object) -> None:
    assert shown({"top": {"rtsp": {"url": "rtsp://10.0.0.7/s", name: value}}}) == {
        "top": {"rtsp": {"url": "rtsp://10.0.0.7/s", name: "***"}}
    }


def test_values_that_are_no_secret_stay_as_they_are() -> None:
    """An element may have the name of a secret, and what is not given keeps none."""
    plain = {"user": {"rtsp": {"password": "", "user": None}}, "links": ["user ! view"], "n": [1, 2.5, True, None]}
    assert shown(plain) == plain
    assert shown({"links": ["rtsp url=rtsp://kim:hush5@a password=hush6 ! view"]}) == {
        "links": ["rtsp url=rtsp://***@a password=*** ! view"]
    }
