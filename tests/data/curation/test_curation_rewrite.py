"""The stage `rewrite` against a server of this test that speaks as OpenAI-compatible ones do, and misbehaves as they do."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from flipbook.data.curation.caption import Rewrite
from flipbook.data.curation.pipeline import curate
from flipbook.data.curation.recipe import parse_recipe
from flipbook.data.world import draw
from flipbook.video import Video

KEY = "sk-test-0123456789"
Answer = Callable[[BaseHTTPRequestHandler], None]


class Endpoint:
    """Answers requests by the functions in `answers`, the last one for ever, and keeps what it was asked."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.url = f"http://127.0.0.1:{server.server_port}/v1"
        self.answers: list[Answer] = [say("a red square moves")]
        self.asked: list[dict] = []
        self.keys: list[str | None] = []
        self.paths: list[str] = []


@pytest.fixture
def endpoint(monkeypatch) -> Iterator[Endpoint]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            here.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            here.keys.append(self.headers.get("Authorization"))
            here.paths.append(self.path)
            here.answers[min(len(here.asked), len(here.answers)) - 1](self)

        def do_GET(self) -> None:                              # a client that follows a redirect comes back so
            here.paths.append(self.path)
            here.keys.append(self.headers.get("Authorization"))
            send(self, 200, "{}")

        def log_message(self, *args: object) -> None:
            pass

    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        here = Endpoint(server)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield here
        server.shutdown()
        thread.join()


def send(handler: BaseHTTPRequestHandler, code: int, body: str, **headers: str) -> None:
    handler.send_response(code)
    for name, value in {"Content-Length": str(len(body.encode())), **headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body.encode())


def say(words: object) -> Answer:
    return lambda handler: send(handler, 200, json.dumps({"choices": [{"message": {"role": "assistant", "content": words}}]}))


def refuse(code: int) -> Answer:
    return lambda handler: send(handler, code, json.dumps({"error": {"message": "no"}}))


def text(body: str) -> Answer:
    return lambda handler: send(handler, 200, body)


def sleepy(handler: BaseHTTPRequestHandler) -> None:
    time.sleep(0.6)


def cut_short(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "500")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [')
    handler.close_connection = True


def elsewhere(handler: BaseHTTPRequestHandler) -> None:
    host, port = handler.server.server_address[:2]
    send(handler, 302, "", Location=f"http://{host}:{port}/steal")


def stage(endpoint: Endpoint, **options: object) -> Rewrite:
    return Rewrite(**{"url": endpoint.url, "model": "tiny", "timeout": 30.0, "retries": 0, "pause": 0.0, **options})


ROW = {"caption": "red square", "caption_by": "file", "motion_camera": 0.0, "motion_object": 0.2}


def test_the_model_is_told_caption_and_motion_and_its_sentence_is_the_caption(endpoint):
    endpoint.answers = [say(" A red square\n moves. ")]
    assert stage(endpoint).run(ROW, None) == {"caption": "A red square moves.", "caption_by": "file, tiny", "rewrite_error": None}
    (asked,) = endpoint.asked
    assert asked["messages"][1]["content"].splitlines() == ["caption: red square", "camera motion: none", "motion of things: moderate"]
    assert (asked["model"], endpoint.paths, endpoint.keys) == ("tiny", ["/v1/chat/completions"], [f"Bearer {KEY}"])


def test_without_a_key_none_is_sent_and_without_a_caption_nothing_is_asked(endpoint, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    stage(endpoint).run(ROW, None)
    assert endpoint.keys == [None]
    assert stage(endpoint).run({"caption": ""}, None) == {"rewrite_error": None}
    assert len(endpoint.asked) == 1


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (refuse(401), "401"), (refuse(503), "503"), (text("<html>busy</html>"), "JSONDecodeError"),
        (text('{"choices": []}'), "IndexError"), (text("[]"), "TypeError"), (text('{"error": "x"}'), "KeyError"),
        (say(None), "nothing"), (say("  "), "nothing"), (say({"a": 1}), "nothing"), (cut_short, "IncompleteRead"), (elsewhere, "302"),
    ],
)  # fmt: skip
def test_a_clip_whose_request_fails_keeps_its_caption_and_says_why(endpoint, answer, told):
    endpoint.answers = [answer]
    found = stage(endpoint).run(ROW, None)
    assert list(found) == ["rewrite_error"]
    assert told in found["rewrite_error"]
    assert KEY not in found["rewrite_error"]


def test_a_server_that_does_not_answer_in_time_is_given_up(endpoint):
    endpoint.answers = [sleepy]
    found = stage(endpoint, timeout=0.2).run(ROW, None)
    assert list(found) == ["rewrite_error"]
    assert "timed out" in found["rewrite_error"]


def test_the_key_goes_to_no_address_but_the_one_that_was_named(endpoint):
    endpoint.answers = [elsewhere]
    stage(endpoint).run(ROW, None)
    assert endpoint.paths == ["/v1/chat/completions"]


def test_a_busy_server_and_a_lost_answer_are_asked_again_and_a_refusal_is_not(endpoint):
    endpoint.answers = [refuse(429), cut_short, say("a red square moves")]
    assert stage(endpoint, retries=2).run(ROW, None)["caption"] == "a red square moves"
    assert len(endpoint.asked) == 3
    endpoint.answers, endpoint.asked = [refuse(400), say("late")], []
    assert "400" in stage(endpoint, retries=2).run(ROW, None)["rewrite_error"]
    assert len(endpoint.asked) == 1


def test_a_server_that_is_not_there_is_told_and_nothing_crashes():
    found = Rewrite(url="http://127.0.0.1:9/v1", model="m", retries=0, timeout=1.0).run(ROW, None)
    assert "URLError" in found["rewrite_error"]


def test_a_key_that_no_header_can_carry_is_refused_without_showing_it(endpoint, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\nX-Other: 1")
    with pytest.raises(ValueError, match="OPENAI_API_KEY") as refusal:
        stage(endpoint).ready()
    assert KEY not in str(refusal.value)
    assert KEY not in stage(endpoint).run(ROW, None)["rewrite_error"]
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\n")           # as files that end in a line break bring it
    stage(endpoint).run(ROW, None)
    assert endpoint.keys == [f"Bearer {KEY}"]


def test_the_key_stands_in_no_file_and_what_failed_is_asked_again_by_the_next_run(endpoint, tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    for seed in (1, 2):
        Video(draw("shapes", seed).frames, 8.0).write(raw / f"{seed}.mp4")
        (raw / f"{seed}.txt").write_text(f"clip {seed}")
    rewrite = {"rewrite": {"url": endpoint.url, "model": "tiny", "retries": 0}}
    recipe = parse_recipe({"stages": ["probe", rewrite]}, "test")
    endpoint.answers = [say("told anew"), refuse(401)]
    first = curate([raw], tmp_path / "out", recipe)
    assert [row["caption"] for row in first] == ["told anew", "clip 2"]
    assert all(KEY.encode() not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    endpoint.answers, endpoint.asked = [say("now too")], []
    second = curate([raw], tmp_path / "out", recipe)
    assert [row["caption"] for row in second] == ["told anew", "now too"]
    assert len(endpoint.asked) == 1
