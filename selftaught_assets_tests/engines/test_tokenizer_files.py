"""A tokenizer that would take all memory is refused before it is made."""

import json
from pathlib import Path

import pytest

from selftaught_assets.engines.tokenizer_files import require_bounded_tokenizer
from selftaught_assets.errors import UserError


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"model": {"vocab": {"a": 2**31}}}, "an id above 10,000,000"),
        ({"model": {"vocab": {"a" * 10_001: 0}}}, "a token of more than 10,000"),
        ({"model": {"vocab": [["a" * 10_001, 0.0]]}}, "a token of more than 10,000"),
        ({"added_tokens": [{"id": 2**31, "content": "a"}]}, "an id above 10,000,000"),
        ({"added_tokens": [{"id": 1, "content": "a" * 10_001}]}, "a token of more than 10,000"),
        ({"added_tokens": [{}] * 200_001}, "more than 200,000 added tokens"),
        ({"normalizer": {"normalizers": [{"content": "a" * 100}] * 2}}, "more than 1,000 times its length"),
        ({"decoder": {"content": "a" * 1001}}, "more than 1,000 times its length"),
    ],
)
def test_a_tokenizer_that_takes_all_memory_is_refused_before_it_is_made(
    tmp_path: Path, content: dict, said: str
) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=said):
        require_bounded_tokenizer(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        {"model": 5, "added_tokens": [7, {"id": "x", "content": None}], "normalizer": []},
        {"model": {"vocab": [5, []]}, "normalizer": {"normalizers": 7}, "decoder": {"decoders": [None]}},
        {"model": {"vocab": None}, "added_tokens": 5},
    ],
)
def test_a_tokenizer_of_no_known_form_is_left_to_those_who_read_it(tmp_path: Path, content: dict) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    require_bounded_tokenizer(tmp_path)
