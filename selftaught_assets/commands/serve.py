"""`selftaught serve`: the judge over HTTP. Not here: the application (selftaught_assets/judge/service.py)."""

import os
import signal
from typing import Annotated

import typer
from rich.markup import escape

from selftaught_assets.commands.common import RecipeOption, errors
from selftaught_assets.commands.judges import DEFAULT_JUDGE, EngineOption, JudgeOption, load_quietly
from selftaught_assets.errors import UserError

LOOPBACK = ("127.0.0.1", "::1", "localhost")
EVERY_ADDRESS = ("0.0.0.0", "::")


def serve(
    judge: JudgeOption = DEFAULT_JUDGE,
    recipe: RecipeOption = "demo",
    engine: EngineOption = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 is every one.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    token_env: Annotated[
        str | None, typer.Option(help="Name of the environment variable with the bearer token that clients must send.")
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            help="A host name by which clients ask for the service, beside localhost and --host; may be repeated. "
            "*.example.com is every name below that one."
        ),
    ] = None,
    rate_limit: Annotated[
        float, typer.Option(min=0.1, help="Requests a second for each client; twice as many at once.")
    ] = 100.0,
    size_limit: Annotated[int, typer.Option(min=1, help="Largest request body, in kB.")] = 1024,
) -> None:
    """Serve a judge over HTTP: /v1/compare, /v1/score, /health, /metrics; /docs describes them."""
    try:
        import uvicorn

        from selftaught_assets.judge.guards import AllowedHosts
        from selftaught_assets.judge.service import build_app
    except ImportError as error:
        raise UserError(
            f"`selftaught serve` needs the package {error.name}: install selftaught-assets[serve]."
        ) from None

    token = None if token_env is None else os.environ.get(token_env, "").strip()
    if token == "":
        raise UserError(f"The environment variable {token_env} holds no token: set it, or drop --token-env.")
    if token is None and host not in LOOPBACK:
        errors.print(
            f"Warning: whoever reaches {escape(host)} can use this service; --token-env asks for a token.",
            highlight=False,
            soft_wrap=True,
        )
    hosts = AllowedHosts([*LOOPBACK, host, *(allow_host or [])], addresses=host in EVERY_ADDRESS)
    with load_quietly(judge, recipe, engine) as loaded:
        app = build_app(
            loaded,
            token=token,
            rate=rate_limit,
            burst=max(1, round(2 * rate_limit)),
            most_bytes=1024 * size_limit,
            hosts=hosts,
        )
        errors.print(f"Judge {escape(loaded.name)} ({loaded.digest[:12]}) is loaded.", highlight=False, soft_wrap=True)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # uvicorn raises it again after it has shut down in order.
        uvicorn.run(app, host=host, port=port, access_log=False, server_header=False)
