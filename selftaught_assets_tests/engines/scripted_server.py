"""A real HTTP server on loopback that completes prompts, or misbehaves as a test says: no tests here."""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

TRIAL_TOKENS = 1
"""The engine's trial at its start asks for so many; no test asks for as few, but where one of several is drawn."""
RESTRICTED = ("allowed_token_ids", "logit_bias")
"""Fields that leave the server only some tokens to draw from."""


class Reply(NamedTuple):
    """What the server does with a request. The default completes it."""

    status: int = 200
    said: str | None = None
    """An error's message."""
    headers: tuple[tuple[str, str], ...] = ()
    after: float = 0.0
    """Seconds before it answers."""
    breaks: bool = False
    """Whether the connection ends in the middle of the answer."""
    body: object = None
    """In place of a completion."""


@dataclass
class Asked:
    """A request as it arrived."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    at: float
    """By the monotonic clock."""


@dataclass
class ScriptedServer:
    """Answers requests for completions as `script` says, and remembers them."""

    script: Callable[[Asked], Reply] = lambda asked: Reply()
    models: Reply = field(default_factory=lambda: Reply(body=listing("tiny")))
    adapters: Reply = field(default_factory=lambda: Reply(body={}))
    """To the loading of an adapter."""
    trial: Reply = field(default_factory=Reply)
    asked: list[Asked] = field(default_factory=list)
    """Everything, in the order of arrival."""
    most_at_once: int = 0
    address: str = ""
    _at_once: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def completions(self) -> list[Asked]:
        """The requests for completions, but for the trial at the start."""
        return [asked for asked in self.asked if asked.path.endswith("completions") and not is_trial(asked)]

    def paths(self) -> list[str]:
        return [asked.path.removeprefix("/v1/") for asked in self.asked]

    def reply(self, asked: Asked) -> Reply:
        with self._lock:
            self.asked.append(asked)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        if asked.path == "/v1/models":
            return self.models
        if asked.path.endswith("lora_adapter"):
            return self.adapters if asked.path == "/v1/load_lora_adapter" else Reply(body={})
        return self.trial if is_trial(asked) else self.script(asked)

    def answered(self) -> None:
        with self._lock:
            self._at_once -= 1


@contextmanager
def serving(server: ScriptedServer) -> Iterator[ScriptedServer]:
    """Serves on a free port, in threads of this process."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer({})

        def do_POST(self) -> None:
            self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def log_message(self, *arguments: object) -> None:
            pass

        def _answer(self, body: dict[str, Any]) -> None:
            asked = Asked(self.path, dict(self.headers), body, time.monotonic())
            reply = server.reply(asked)
            try:
                time.sleep(reply.after)
                content = _content(asked, reply)
                self.send_response(reply.status)
                for name, value in reply.headers:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: len(content) // 2] if reply.breaks else content)
                self.close_connection = self.close_connection or reply.breaks
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True
            finally:
                server.answered()

    class Listener(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, request: object, client_address: object) -> None:
            if not isinstance(sys.exception(), ConnectionError):  # A client may leave whenever it wants.
                super().handle_error(request, client_address)

    with Listener(("127.0.0.1", 0), Handler) as listener:
        server.address = f"http://127.0.0.1:{listener.server_port}/v1"
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01}, name="scripted")
        thread.start()
        try:
            yield server
        finally:
            listener.shutdown()
            thread.join()


def is_trial(asked: Asked) -> bool:
    """Whether the engine only tries the server."""
    return asked.body["max_tokens"] == TRIAL_TOKENS and not any(field in asked.body for field in RESTRICTED)


def listing(*names: str, **fields: object) -> dict[str, Any]:
    """A list of models."""
    return {"object": "list", "data": [{"id": name, "object": "model", **fields} for name in names]}


def completion(asked: Asked, **fields: object) -> dict[str, Any]:
    """A completion that says its seed; fields replace those of its choice."""
    said = f"seed {asked.body['seed']}"
    chat = asked.path.endswith("chat/completions")
    choice = {"index": 0, "finish_reason": "stop", **({"message": {"content": said}} if chat else {"text": said})}
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    return {"choices": [choice | fields], "usage": usage}


def saying(text: str) -> Callable[[Asked], Reply]:
    """The same completion, always."""
    return lambda asked: Reply(
        body=completion(asked, **({"message": {"content": text}} if "messages" in asked.body else {"text": text}))
    )


def in_turn(*replies: Reply) -> Callable[[Asked], Reply]:
    """The replies one after the other; after them, completions."""
    left = list(replies)
    return lambda asked: left.pop(0) if left else Reply()


def _content(asked: Asked, reply: Reply) -> bytes:
    if reply.said is not None:
        return json.dumps({"error": {"message": reply.said, "code": reply.status}}).encode()
    if reply.body is None and reply.status != 200:
        return b""
    body = completion(asked) if reply.body is None else reply.body
    return body if isinstance(body, bytes) else json.dumps(body).encode()
