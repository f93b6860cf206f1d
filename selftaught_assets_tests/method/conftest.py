"""Property tests run without a deadline: the machine may be shared, and none of them measures time."""

import pytest
from hypothesis import settings

settings.register_profile("method", deadline=None, max_examples=20)


@pytest.fixture(autouse=True, scope="package")
def hypothesis_profile():
    settings.load_profile("method")
    yield
    settings.load_profile("default")
