"""HTTP calls that wait as long as a slow machine needs: the five seconds of httpx are too few beside other tests."""

from functools import partial

import httpx

SECONDS = 120

get = partial(httpx.get, timeout=SECONDS)
post = partial(httpx.post, timeout=SECONDS)
