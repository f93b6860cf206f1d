"""Property tests make a fifth of the usual examples here: there are many of them."""

import pytest
from hypothesis import settings

settings.register_profile("method", settings.get_profile("any_machine"), max_examples=20)


@pytest.fixture(autouse=True, scope="package")
def hypothesis_profile():
    settings.load_profile("method")
    yield
    settings.load_profile("any_machine")
